{
  "targets": [
    {
      "target_name": "ssh-vsock-proxy",
      "sources": [
        "native/addon/addon.cc",
        "native/addon/arguments.cc",
        "native/shim/log.c",
        "native/shim/poll.c",
        "native/shim/preview1.c",
        "native/shim/relay.c",
        "native/shim/shim.c",
        "native/shim/sockets.c"
      ],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "defines": ["NAPI_VERSION=8"],
      "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_c": ["-std=c11", "-D_GNU_SOURCE"],
      "cflags_cc": ["-std=c++17", "-Wno-missing-field-initializers"],
      "ldflags": ["-Wl,-z,relro"]
    }
  ]
}
