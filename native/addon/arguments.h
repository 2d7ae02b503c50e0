#ifndef ADDON_ARGUMENTS_H
#define ADDON_ARGUMENTS_H

#include <napi.h>

#include <string>
#include <vector>

/** The texts in a file of /proc, each of which ends with a NUL; none if it cannot be read. */
std::vector<std::string> TextsOf(const char *path);

/** rawArguments(decoded: string[]): Buffer[], the bytes of this process's last arguments. */
Napi::Value RawArguments(const Napi::CallbackInfo &info);

#endif
