#ifndef ADDON_ENVIRONMENT_H
#define ADDON_ENVIRONMENT_H

#include <napi.h>

#include <string>
#include <vector>

/** process.env as it is now, as bytes: `NAME=VALUE`. */
std::vector<std::string> Environment(Napi::Env env);

#endif
