// This process's arguments as bytes. Node's argv is decoded, and loses what is not UTF-8;
// /proc/self/cmdline has the bytes, but loses everything where something has set process.title. So
// each argument is taken from there if it is what Node has decoded, and from Node if nothing can
// have been lost. Here and not in JavaScript, where the same takes ten times as long (1.2 ms).

#include "arguments.h"

#include <cstdio>

std::vector<std::string> TextsOf(const char *path) {
    std::string bytes;
    if (FILE *file = std::fopen(path, "re")) {
        char part[4096];
        while (size_t count = std::fread(part, 1, sizeof part, file)) {
            bytes.append(part, count);
        }
        std::fclose(file);
    }
    std::vector<std::string> all;
    for (size_t at = 0, end; (end = bytes.find('\0', at)) != std::string::npos; at = end + 1) {
        all.emplace_back(bytes, at, end - at);
    }
    return all;
}

Napi::Value RawArguments(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!info[0].IsArray()) {
        throw Napi::TypeError::New(env, "rawArguments: decoded must be an array of strings");
    }
    auto decoded = info[0].As<Napi::Array>();
    const uint32_t count = decoded.Length();
    const std::vector<std::string> all = TextsOf("/proc/self/cmdline");
    Napi::Array result = Napi::Array::New(env, count);
    for (uint32_t i = 0; i < count; i++) {
        std::string bytes = Napi::Value(decoded[i]).ToString().Utf8Value();
        const size_t behind = count - i;
        const std::string raw = behind <= all.size() ? all[all.size() - behind] : std::string();
        if (Napi::String::New(env, raw).Utf8Value() == bytes) {
            bytes = raw;
        } else if (bytes.find("\xef\xbf\xbd") != std::string::npos) {
            throw Napi::Error::New(
                env, "an argument is not UTF-8, and its bytes are lost (is process.title set?)");
        }
        result[i] = Napi::Buffer<char>::Copy(env, bytes.data(), bytes.size());
    }
    return result;
}
