// The shim as a Node addon: what proxy.wasm imports, as functions of JavaScript. The shim
// implements the imports; this file converts JavaScript's values to C's and back.
//
//   new Shim(args: Buffer[])   args: the program's arguments, its own name first; its environment is
//                              process.env as it is now
//   shim.imports               the import object for WebAssembly.Instance
//   shim.attach(memory)        to be called with the instance's memory before the first import runs
//   shim.close()               closes what the program has opened
//   rawArguments(decoded)      arguments.cc

#include <napi.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../shim/shim.h"
#include "arguments.h"
#include "environment.h"

namespace {

class Shim : public Napi::ObjectWrap<Shim> {
  public:
    static Napi::Function Define(Napi::Env env) {
        return DefineClass(
            env, "Shim",
            {InstanceAccessor<&Shim::Imports>("imports"), InstanceMethod<&Shim::Attach>("attach"),
             InstanceMethod<&Shim::Close>("close")});
    }

    explicit Shim(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Shim>(info) {
        shim_init(&shim_, nullptr, 0, nullptr);
        if (!info[0].IsArray()) {
            throw Napi::TypeError::New(info.Env(), "Shim: args must be an array of Buffers");
        }
        Napi::Array args = info[0].As<Napi::Array>();
        for (uint32_t i = 0; i < args.Length(); i++) {
            Napi::Value arg = args[i];
            if (!arg.IsBuffer()) {
                throw Napi::TypeError::New(info.Env(), "Shim: args must be an array of Buffers");
            }
            auto bytes = arg.As<Napi::Buffer<char>>();
            args_.emplace_back(bytes.Data(), bytes.Length());
        }
        for (const std::string &arg : args_)
            argv_.push_back(arg.c_str());
        variables_ = Environment(info.Env());
        for (const std::string &variable : variables_)
            environment_.push_back(variable.c_str());
        environment_.push_back(nullptr);
        shim_init(&shim_, argv_.data(), static_cast<uint32_t>(argv_.size()), environment_.data());
    }

    ~Shim() override {
        shim_close(&shim_);
    }

    /** The shim, with the program's memory where it is at this moment. */
    struct shim *Ready() {
        if (memory_.IsEmpty()) return &shim_;
        auto buffer = memory_.Value().Get("buffer").As<Napi::ArrayBuffer>();
        shim_.memory = static_cast<uint8_t *>(buffer.Data());
        shim_.memory_size = buffer.ByteLength();
        return &shim_;
    }

  private:
    Napi::Value Imports(const Napi::CallbackInfo &info);

    void Attach(const Napi::CallbackInfo &info) {
        Napi::Value buffer =
            info[0].IsObject() ? info[0].As<Napi::Object>().Get("buffer") : info.Env().Undefined();
        if (!buffer.IsArrayBuffer()) {
            throw Napi::TypeError::New(info.Env(), "Shim: memory must be a WebAssembly.Memory");
        }
        memory_ = Napi::Persistent(info[0].As<Napi::Object>());
    }

    void Close(const Napi::CallbackInfo & /*info*/) {
        shim_close(&shim_);
    }

    std::vector<std::string> args_;
    std::vector<const char *> argv_;
    std::vector<std::string> variables_;
    std::vector<const char *> environment_;
    struct shim shim_;
    Napi::ObjectReference memory_;
};

/** An argument of an import. WebAssembly calls with Numbers for i32 and BigInts for i64. */
template <typename T>
T FromValue(const Napi::Value &value) {
    if constexpr (std::is_same_v<T, uint64_t>) {
        bool lossless = false;
        return value.As<Napi::BigInt>().Uint64Value(&lossless);
    } else {
        return value.As<Napi::Number>().Uint32Value();
    }
}

template <typename Result, typename... Params, size_t... Index>
Napi::Value Call(const Napi::CallbackInfo &info, Result (*import)(struct shim *, Params...),
                 std::index_sequence<Index...> /*positions*/) {
    struct shim *shim = static_cast<Shim *>(info.Data())->Ready();
    if constexpr (std::is_void_v<Result>) {
        import(shim, FromValue<Params>(info[Index])...);
        return info.Env().Undefined();
    } else {
        return Napi::Number::New(info.Env(), import(shim, FromValue<Params>(info[Index])...));
    }
}

template <typename Result, typename... Params>
Napi::Value Dispatch(const Napi::CallbackInfo &info, Result (*import)(struct shim *, Params...)) {
    return Call(info, import, std::index_sequence_for<Params...>());
}

/** How many parameters Wasm gives an import. */
template <typename Result, typename... Params>
constexpr uint32_t Arity(Result (* /*import*/)(struct shim *, Params...)) {
    return sizeof...(Params);
}

/** One import as a function of JavaScript. */
template <auto import>
Napi::Value Import(const Napi::CallbackInfo &info) {
    return Dispatch(info, import);
}

Napi::Value Shim::Imports(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    Napi::Object wasi_snapshot_preview1 = Napi::Object::New(env);
    Napi::Object socket_shim_v1 = Napi::Object::New(env);
    // Each function keeps the Shim alive by a read-only property: an instance may outlive the last
    // other reference to the Shim.
    auto add = [&](Napi::Object module, const char *name, Napi::Function import, uint32_t arity) {
        import.DefineProperty(Napi::PropertyDescriptor::Value("shim", info.This(), napi_default));
        import.DefineProperty(
            Napi::PropertyDescriptor::Value("length", Napi::Number::New(env, arity), napi_default));
        module.Set(name, import);
    };
#define ADD(module, result, name, ...)                                              \
    add(module, #name, Napi::Function::New<Import<&shim_##name>>(env, #name, this), \
        Arity(&shim_##name));
    SHIM_IMPORTS(ADD)
#undef ADD
    Napi::Object imports = Napi::Object::New(env);
    imports.Set("wasi_snapshot_preview1", wasi_snapshot_preview1);
    imports.Set("socket_shim_v1", socket_shim_v1);
    return imports;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
    exports.Set("Shim", Shim::Define(env));
    exports.Set("rawArguments", Napi::Function::New<RawArguments>(env, "rawArguments"));
    return exports;
}

}  // namespace

NODE_API_MODULE(ssh_vsock_proxy, Init)
