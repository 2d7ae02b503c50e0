// The environment as bytes. C's environ is no place to read it from: setenv(3), which an assignment to
// process.env calls, moves it and frees the old one, in a Worker that shares it at any time. Node's
// process.env takes Node's lock, and is also right in a Worker with an environment of its own; but it
// is decoded. So a value that may have lost bytes is looked up in what the kernel gave the process
// (/proc/self/environ, which no assignment changes), and taken from there if it is the same value.

#include "environment.h"

#include "arguments.h"

namespace {

/** What UTF-8 decoding puts for a byte that is not UTF-8. */
const char *const kReplacement = "\xef\xbf\xbd";

/** The same variable in what the kernel gave, or as it is if it is not there. */
std::string Raw(Napi::Env env, const std::vector<std::string> &given, const std::string &variable) {
    for (const std::string &raw : given) {
        if (Napi::String::New(env, raw).Utf8Value() == variable) return raw;
    }
    return variable;
}

}  // namespace

std::vector<std::string> Environment(Napi::Env env) {
    std::vector<std::string> result;
    const Napi::Value process = env.Global().Get("process");
    if (!process.IsObject()) return result;
    const Napi::Value variables = process.As<Napi::Object>().Get("env");
    if (!variables.IsObject()) return result;
    const Napi::Array names = variables.As<Napi::Object>().GetPropertyNames();
    std::vector<std::string> given;
    for (uint32_t i = 0; i < names.Length(); i++) {
        const Napi::Value name = names[i];
        const Napi::Value value = variables.As<Napi::Object>().Get(name);
        std::string variable = name.ToString().Utf8Value() + "=" + value.ToString().Utf8Value();
        if (variable.find(kReplacement) != std::string::npos) {
            if (given.empty()) given = TextsOf("/proc/self/environ");
            variable = Raw(env, given, variable);
        }
        result.push_back(std::move(variable));
    }
    return result;
}
