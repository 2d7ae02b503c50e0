// A libssh client that runs a command in machine 3, with the calls of docs/clients.md:
//
//     libssh-client USER COMMAND
//
// All of stdin is sent before the command's output is read, so the command must not write more than a
// window's size before it has read that. The exit status is the command's, or 255. Keys and known_hosts
// are those of $HOME/.ssh; libssh by itself ignores HOME.

#include <libssh/libssh.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FAILED = 255, PIECE = 32768 };

static ssh_session session;

// Ends the proxy as well, which has both ends of its socketpair and would not see the exit.
static void close_session(void) {
    ssh_disconnect(session);
    ssh_free(session);
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ssh_get_error(session));
    close_session();
    exit(FAILED);
}

// The path of `name` in $HOME/.ssh.
static const char *own(const char *name, char path[4096]) {
    snprintf(path, 4096, "%s/.ssh/%s", getenv("HOME"), name);
    return path;
}

static void set(enum ssh_options_e option, const void *value) {
    if (ssh_options_set(session, option, value) != SSH_OK) fail("ssh_options_set");
}

static void open_session(const char *user) {
    char path[4096];
    session = ssh_new();
    if (!session) exit(FAILED);
    set(SSH_OPTIONS_PROCESS_CONFIG, &(bool){false});
    set(SSH_OPTIONS_SSH_DIR, own("", path));
    set(SSH_OPTIONS_KNOWNHOSTS, own("known_hosts", path));
    set(SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
    set(SSH_OPTIONS_USER, user);
    ssh_options_set(session, SSH_OPTIONS_HOST, "vm3");
    ssh_options_set(session, SSH_OPTIONS_PROXYCOMMAND, "ssh-vsock-proxy --stdio vsock/3");
    if (ssh_connect(session) != SSH_OK) fail("ssh_connect");
    if (ssh_session_is_known_server(session) != SSH_KNOWN_HOSTS_OK) fail("host key not known");

    ssh_key key;
    if (ssh_pki_import_privkey_file(own("id_ed25519", path), NULL, NULL, NULL, &key) != SSH_OK)
        fail(path);
    if (ssh_userauth_publickey(session, NULL, key) != SSH_AUTH_SUCCESS) fail("authentication");
    ssh_key_free(key);
}

static void send_input(ssh_channel channel) {
    static char piece[PIECE];
    ssize_t length;
    while ((length = read(STDIN_FILENO, piece, sizeof piece)) > 0) {
        if (ssh_channel_write(channel, piece, (uint32_t)length) != length) fail("write");
    }
    if (length < 0 || ssh_channel_send_eof(channel) != SSH_OK) fail("end of input");
}

static void take_output(ssh_channel channel) {
    static char piece[PIECE];
    int length;
    while ((length = ssh_channel_read(channel, piece, sizeof piece, 0)) > 0) {
        if (fwrite(piece, 1, (size_t)length, stdout) != (size_t)length) fail("stdout");
    }
    if (length < 0 || fflush(stdout) != 0) fail("read");
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: libssh-client USER COMMAND\n");
        return FAILED;
    }
    open_session(argv[1]);
    ssh_channel channel = ssh_channel_new(session);
    if (!channel || ssh_channel_open_session(channel) != SSH_OK) fail("channel");
    if (ssh_channel_request_exec(channel, argv[2]) != SSH_OK) fail("exec");
    send_input(channel);
    take_output(channel);
    int status = ssh_channel_get_exit_status(channel);
    ssh_channel_free(channel);
    close_session();
    return status;
}
