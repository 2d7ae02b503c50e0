#include <libssh/libssh.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED = 255 };

// NULL, if `name` does not look like a host's to libssh.
static ssh_session read_config(const char *config, const char *name) {
    ssh_session session = ssh_new();
    // It reads no file but this one.
    ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &(bool){false});
    if (ssh_options_set(session, SSH_OPTIONS_HOST, name) == SSH_OK &&
        ssh_options_parse_config(session, config) == SSH_OK)
        return session;
    ssh_free(session);
    return NULL;
}

static void parse(const char *config, const char *name) {
    ssh_session session = read_config(config, name);
    char *command = NULL;
    if (session) ssh_options_get(session, SSH_OPTIONS_PROXYCOMMAND, &command);
    puts(command ? command : "");
    ssh_string_free_char(command);
    ssh_free(session);
}

static int login(const char *config, const char *name) {
    ssh_session session = read_config(config, name);
    ssh_channel channel = NULL;
    char output[64];
    int length = -1, status = FAILED;
    if (!session) return FAILED;
    if (ssh_connect(session) == SSH_OK &&
        ssh_session_is_known_server(session) == SSH_KNOWN_HOSTS_OK &&
        ssh_userauth_publickey_auto(session, NULL, NULL) == SSH_AUTH_SUCCESS &&
        (channel = ssh_channel_new(session)) && ssh_channel_open_session(channel) == SSH_OK &&
        ssh_channel_request_exec(channel, "echo out; exit 7") == SSH_OK) {
        while ((length = ssh_channel_read(channel, output, sizeof output, 0)) > 0)
            fwrite(output, 1, (size_t)length, stdout);
    }
    if (length == 0)
        status = ssh_channel_get_exit_status(channel);
    else
        fprintf(stderr, "%s: %s\n", name, ssh_get_error(session));
    ssh_disconnect(session);
    ssh_free(session);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 4) return FAILED;
    if (strcmp(argv[1], "login") == 0) return login(argv[2], argv[3]);
    for (int i = 3; i < argc; i++)
        parse(argv[2], argv[i]);
    return 0;
}
