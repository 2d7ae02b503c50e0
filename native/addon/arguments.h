#ifndef ADDON_ARGUMENTS_H
#define ADDON_ARGUMENTS_H

#include <napi.h>

/** rawArguments(decoded: string[]): Buffer[], the bytes of this process's last arguments. */
Napi::Value RawArguments(const Napi::CallbackInfo &info);

#endif
