// Records what your C++ port computes, for `rbees-check run --dump FILE`.
//
// One header, C++17, standard library only. Pass it each buffer where your code computes it. It does nothing
// unless the environment variable RBEES_DUMP names a file:
//
//     rbees::tokens(ids.data(), {1, s});                            // i32, u32 or i64
//     for (int i = 0; i < layers; i++) {
//         ...
//         rbees::tap("self_attn.q_proj", q.data(), {1, s, heads * head_dim});  // of the current layer
//         ...
//         rbees::tap("", x.data(), {1, s, hidden});                 // the block's output; the next layer begins
//     }
//     rbees::tap("lm_head", logits.data(), {1, s, vocab});          // the last site; writes the file
//
// docs/dump-format.md lists the sites with their names and shapes; any subset of them works, even the logits
// alone. Buffers are in C order: the last axis is contiguous. Pass f16 and bf16 as `rbees::f16(pointer)` and
// `rbees::bf16(pointer)`. Layers are counted by the taps of block outputs; if you do not tap these, call
// `rbees::layer(i)`. If you do not tap `lm_head`, call `rbees::finish()` after the forward pass.
//
// Only the first pass is recorded, unless RBEES_DUMP_PASSES says which: `3`, `1-4`, `0,3` or `all`, counted from 0.
// Then RBEES_DUMP names an existing directory, and pass N is written to DIR/pass-N.safetensors. A pass begins with
// `rbees::tokens`. If you record a single decode step, tap the cache before the step too: `self_attn.past_key` and
// `self_attn.past_value`, {b, kv_heads, cached, head_dim}.
//
// `rbees::unrecorded([&] { ...; return rbees::Logits{pointer, {1, s, vocab}}; })`, before the recorded pass, stores the
// logits of a run that the recorder does not see, for example with a fused kernel: `run --dump` compares them with the
// recorded ones.
//
// Not thread-safe. Little-endian machines only.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace rbees {

using Shape = std::vector<int64_t>;

// A buffer and the type of its elements.
struct Buffer {
    const void* data;
    const char* dtype;  // as safetensors spells it
    size_t width;       // bytes per element
};
inline Buffer buffer(const float* data) { return {data, "F32", 4}; }
inline Buffer buffer(const double* data) { return {data, "F64", 8}; }
inline Buffer buffer(Buffer data) { return data; }
inline Buffer f16(const void* data) { return {data, "F16", 2}; }
inline Buffer bf16(const void* data) { return {data, "BF16", 2}; }

namespace detail {

struct Tensor {
    std::string dtype;
    Shape shape;
    std::vector<char> bytes;
};

struct Recorder {
    std::string file;    // empty: nothing is recorded
    std::string passes;  // empty: only the first pass, into `file` itself
    long pass = 0;       // the number of the present pass
    bool begun = false;  // has it begun?
    bool paused = false;
    int layer = 0;
    std::map<std::string, std::string> about{{"format", "rbees-dump 1"}, {"recorder", "tap.hpp"}};
    std::map<std::string, Tensor> tensors;

    Recorder() {
        if (const char* name = std::getenv("RBEES_DUMP")) file = name;
        if (const char* which = std::getenv("RBEES_DUMP_PASSES")) passes = which;
    }
};

inline Recorder& recorder() {
    static Recorder one;
    return one;
}

inline bool on() { return !recorder().file.empty() && !recorder().paused; }

// Is the present pass recorded? `passes` is `all`, or parts such as `3` and `1-4` with commas between them.
inline bool wants_pass() {
    const std::string& passes = recorder().passes;
    if (passes.empty()) return recorder().pass == 0;
    if (passes == "all") return true;
    for (size_t at = 0; at < passes.size();) {
        char* rest = nullptr;
        const char* begin = passes.c_str() + at;
        const long first = std::strtol(begin, &rest, 10);
        const bool number = rest != begin;
        const long last = number && *rest == '-' ? std::strtol(rest + 1, &rest, 10) : first;
        if (!number || (*rest && *rest != ',')) {
            throw std::runtime_error("RBEES_DUMP_PASSES is `" + passes + "`, not a number, a range such as 1-4, or all");
        }
        if (first <= recorder().pass && recorder().pass <= last) return true;
        at = static_cast<size_t>(rest - passes.c_str()) + 1;
    }
    return false;
}

inline std::string name(const std::string& site) {
    if (site == "lm_head" || site.rfind("model.", 0) == 0) return site;
    const std::string block = "model.layers." + std::to_string(recorder().layer);
    return site.empty() ? block : block + "." + site;
}

inline size_t elements(const Shape& shape) {
    size_t count = 1;
    for (int64_t n : shape) count *= static_cast<size_t>(n);
    return count;
}

// Keeps only the first tensor with a name.
inline void take(const std::string& name, const Buffer& from, const Shape& shape) {
    if (!wants_pass() || recorder().tensors.count(name)) return;
    const char* begin = static_cast<const char*>(from.data);
    recorder().tensors[name] = {from.dtype, shape, {begin, begin + elements(shape) * from.width}};
}

inline std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (unsigned char c : text) {
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
        out += c < 0x20 || c == '"' || c == '\\' ? std::string(escaped) : std::string(1, static_cast<char>(c));
    }
    return out + "\"";
}

// The header of a .safetensors file: JSON, padded with spaces so that the data is aligned.
inline std::string header() {
    std::string json = "{\"__metadata__\":{", separator;
    for (const auto& [key, value] : recorder().about) {
        json += separator + quoted(key) + ":" + quoted(value);
        separator = ",";
    }
    json += "}";
    size_t offset = 0;
    for (const auto& [name, tensor] : recorder().tensors) {
        json += "," + quoted(name) + ":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[";
        for (size_t i = 0; i < tensor.shape.size(); i++) json += (i ? "," : "") + std::to_string(tensor.shape[i]);
        json += "],\"data_offsets\":[" + std::to_string(offset);
        offset += tensor.bytes.size();
        json += "," + std::to_string(offset) + "]}";
    }
    json += "}";
    json.resize((json.size() + 7) / 8 * 8, ' ');
    return json;
}

}  // namespace detail

// Adds metadata: ("model", "my-llama"), ("dtype", "f32"), ("layout", "interleaved").
inline void about(const std::string& key, const std::string& value) {
    if (detail::on()) detail::recorder().about[key] = value;
}

namespace detail {

// Writes the present pass to a temporary name and renames it, so that nobody reads an incomplete file.
inline void write() {
    const std::string folder = recorder().file, name = "pass-" + std::to_string(recorder().pass) + ".safetensors";
    const bool several = !recorder().passes.empty();
    const std::string file = several ? folder + "/" + name : folder;
    const std::string partial = several ? folder + "/." + name + ".partial" : file + ".partial";
    const std::string header = detail::header();
    const uint64_t size = header.size();
    std::FILE* out = std::fopen(partial.c_str(), "wb");
    if (!out) throw std::runtime_error(partial + ": cannot be written");
    bool fine = std::fwrite(&size, 8, 1, out) == 1 && std::fwrite(header.data(), 1, size, out) == size;
    for (const auto& [name, tensor] : detail::recorder().tensors) {
        fine = fine && std::fwrite(tensor.bytes.data(), 1, tensor.bytes.size(), out) == tensor.bytes.size();
    }
    fine = std::fclose(out) == 0 && fine;
    if (!fine || std::rename(partial.c_str(), file.c_str()) != 0) {
        std::remove(partial.c_str());
        throw std::runtime_error(file + ": cannot be written");
    }
}

}  // namespace detail

// Ends the present pass: writes it, if it is recorded and has not been written.
inline void finish() {
    if (!detail::on()) return;
    detail::Recorder& recorder = detail::recorder();
    if (detail::wants_pass() && !recorder.tensors.empty()) detail::write();
    recorder.tensors.clear();
    recorder.pass++;
    recorder.begun = false;
    recorder.layer = 0;
    if (recorder.passes.empty()) recorder.file.clear();
}

// Logits and their shape, {b, s, vocab}.
struct Logits {
    const float* data;
    Shape shape;
};

// Stores the logits that `run` returns. What it taps is not recorded. Without RBEES_DUMP it is not called.
template <typename Run>
void unrecorded(Run run) {
    if (!detail::on()) return;
    detail::recorder().paused = true;
    const Logits logits = run();
    detail::recorder().paused = false;
    detail::take("unrecorded.logits", buffer(logits.data), logits.shape);
}

// Records the token ids of this pass, [b, s]. The first id of each row has position `offset`.
template <typename Id>
void tokens(const Id* ids, const Shape& shape, int64_t offset = 0) {
    if (!detail::on()) return;
    if (detail::recorder().begun) finish();  // the pass before is over
    if (!detail::on()) return;
    detail::recorder().begun = true;
    std::vector<int64_t> wide(ids, ids + detail::elements(shape)), positions(wide.size());
    for (size_t i = 0; i < positions.size(); i++) positions[i] = offset + static_cast<int64_t>(i) % shape.at(1);
    detail::take("input_ids", {wide.data(), "I64", 8}, shape);
    detail::take("position_ids", {positions.data(), "I64", 8}, shape);
}

// Sets the current layer, which names that do not begin with `model.` or `lm_head` refer to.
inline void layer(int number) {
    if (detail::on()) detail::recorder().layer = number;
}

// Records the buffer at `site`: `const float*`, `const double*`, `f16(...)` or `bf16(...)`.
template <typename Data>
void tap(const std::string& site, Data data, const Shape& shape) {
    if (!detail::on()) return;
    const std::string name = detail::name(site);
    detail::take(name, buffer(data), shape);
    if (site.empty()) detail::recorder().layer++;
    if (name == "lm_head") finish();
}

}  // namespace rbees
