// wasm2c's names for what the module imports are names of the shim's: the instance of either module
// is the shim, and each function is the shim's own. Where wasm2c's declarations and shim.h's differ,
// main.c does not compile; where an import is missing here, nothing links.

#ifndef STANDALONE_IMPORTS_H
#define STANDALONE_IMPORTS_H

#define w2c_wasi__snapshot__preview1 shim
#define w2c_socket__shim__v1 shim

#define w2c_wasi__snapshot__preview1_args_get shim_args_get
#define w2c_wasi__snapshot__preview1_args_sizes_get shim_args_sizes_get
#define w2c_wasi__snapshot__preview1_clock_time_get shim_clock_time_get
#define w2c_wasi__snapshot__preview1_environ_get shim_environ_get
#define w2c_wasi__snapshot__preview1_environ_sizes_get shim_environ_sizes_get
#define w2c_wasi__snapshot__preview1_fd_close shim_fd_close
#define w2c_wasi__snapshot__preview1_fd_fdstat_get shim_fd_fdstat_get
#define w2c_wasi__snapshot__preview1_fd_write shim_fd_write
#define w2c_wasi__snapshot__preview1_poll_oneoff shim_poll_oneoff
#define w2c_wasi__snapshot__preview1_proc_exit shim_proc_exit
#define w2c_wasi__snapshot__preview1_sock_recv shim_sock_recv
#define w2c_wasi__snapshot__preview1_sock_send shim_sock_send

#define w2c_socket__shim__v1_log_open shim_log_open
#define w2c_socket__shim__v1_sock_addr_local shim_sock_addr_local
#define w2c_socket__shim__v1_sock_connect shim_sock_connect
#define w2c_socket__shim__v1_sock_open shim_sock_open
#define w2c_socket__shim__v1_sock_relay shim_sock_relay
#define w2c_socket__shim__v1_sock_send_fds shim_sock_send_fds

#endif
