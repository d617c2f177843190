// A Llama in plain loops, recorded with scripts/tap.hpp:
//
//     c++ -std=c++17 -O2 -I scripts examples/cpp/llama.cpp -o /tmp/llama
//     RBEES_DUMP=/tmp/dump.safetensors /tmp/llama fixtures/tiny-llama 1 401 269 201
//
// Handles one sequence in float32, with f16 or f32 weights from a Hugging Face directory.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>

#include "tap.hpp"

using Vec = std::vector<float>;

static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
}

// The text after `"key":` in flat JSON.
static std::string after(const std::string& json, const std::string& key) {
    const size_t at = json.find("\"" + key + "\"");
    if (at == std::string::npos) throw std::runtime_error("no `" + key + "` in the JSON");
    const size_t colon = json.find(':', at);
    return json.substr(colon + 1, 400);
}

static double number(const std::string& json, const std::string& key) { return std::stod(after(json, key)); }

static float from_half(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const float size = exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(float(fraction), -24);
    return h >> 15 ? -size : size;
}

struct Weights {
    std::string bytes, header;

    explicit Weights(const std::string& path) : bytes(read(path)) {
        uint64_t size;
        std::memcpy(&size, bytes.data(), 8);
        header = bytes.substr(8, size);
    }

    bool has(const std::string& name) const { return header.find("\"" + name + "\"") != std::string::npos; }

    Vec get(const std::string& name) const {
        const std::string entry = after(header, name);
        const std::string offsets = after(entry, "data_offsets");
        const size_t begin = std::stoul(offsets.substr(offsets.find('[') + 1));
        const size_t end = std::stoul(offsets.substr(offsets.find(',') + 1));
        const bool half = after(entry, "dtype").substr(0, 8).find("F16") != std::string::npos;
        const char* data = bytes.data() + 8 + header.size();
        Vec out((end - begin) / (half ? 2 : 4));
        for (size_t i = 0; i < out.size(); i++) {
            uint16_t h;
            if (half) std::memcpy(&h, data + begin + 2 * i, 2), out[i] = from_half(h);
            else std::memcpy(&out[i], data + begin + 4 * i, 4);
        }
        return out;
    }
};

struct Llama {
    Weights weights;
    int hidden, heads, kv_heads, dim, layers, vocab;
    double eps, theta;

    Llama(const std::string& folder, const std::string& config)
        : weights(folder + "/model.safetensors"), hidden(int(number(config, "hidden_size"))),
          heads(int(number(config, "num_attention_heads"))), kv_heads(int(number(config, "num_key_value_heads"))),
          dim(int(number(config, "head_dim"))), layers(int(number(config, "num_hidden_layers"))),
          vocab(int(number(config, "vocab_size"))), eps(number(config, "rms_norm_eps")),
          theta(number(config, "rope_theta")) {}

    // [s, in] -> [s, out]
    Vec linear(const std::string& name, const Vec& x, int s) const {
        const Vec w = weights.get(name + ".weight");  // [out, in]
        const size_t in = x.size() / s, out = w.size() / in;
        Vec y(s * out);
        for (int p = 0; p < s; p++)
            for (size_t o = 0; o < out; o++) {
                float sum = 0;
                for (size_t i = 0; i < in; i++) sum += x[p * in + i] * w[o * in + i];
                y[p * out + o] = sum;
            }
        return y;
    }

    Vec norm(const std::string& name, const Vec& x, int s) const {
        const Vec w = weights.get(name + ".weight");
        Vec y(x.size());
        for (int p = 0; p < s; p++) {
            float sum = 0;
            for (int i = 0; i < hidden; i++) sum += x[p * hidden + i] * x[p * hidden + i];
            const float scale = 1 / std::sqrt(sum / hidden + float(eps));
            for (int i = 0; i < hidden; i++) y[p * hidden + i] = x[p * hidden + i] * scale * w[i];
        }
        return y;
    }

    // [s, n, dim] -> rotated [n, s, dim]: elements i and i + dim/2 form a pair.
    Vec rope(const Vec& x, int s, int n) const {
        Vec y(x.size());
        for (int p = 0; p < s; p++)
            for (int h = 0; h < n; h++)
                for (int i = 0; i < dim / 2; i++) {
                    const double angle = p * std::pow(theta, -2.0 * i / dim);
                    const float c = float(std::cos(angle)), sn = float(std::sin(angle));
                    const float a = x[(p * n + h) * dim + i], b = x[(p * n + h) * dim + i + dim / 2];
                    y[(h * s + p) * dim + i] = a * c - b * sn;
                    y[(h * s + p) * dim + i + dim / 2] = b * c + a * sn;
                }
        return y;
    }

    // [s, hidden] -> [s, hidden]
    Vec attention(const std::string& here, const Vec& x, int s) const {
        Vec q = linear(here + ".q_proj", x, s), k = linear(here + ".k_proj", x, s), v = linear(here + ".v_proj", x, s);
        rbees::tap("self_attn.q_proj", q.data(), {1, s, heads * dim});
        rbees::tap("self_attn.k_proj", k.data(), {1, s, kv_heads * dim});
        rbees::tap("self_attn.v_proj", v.data(), {1, s, kv_heads * dim});
        q = rope(q, s, heads), k = rope(k, s, kv_heads);
        rbees::tap("self_attn.q_rope", q.data(), {1, heads, s, dim});
        rbees::tap("self_attn.k_rope", k.data(), {1, kv_heads, s, dim});

        Vec scores(heads * s * s, -std::numeric_limits<float>::infinity()), probs(scores.size()), context(s * heads * dim);
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < s; i++) {
                const int group = h / (heads / kv_heads);
                float *row = &scores[(h * s + i) * s], *prob = &probs[(h * s + i) * s], sum = 0;
                for (int j = 0; j <= i; j++) {
                    float dot = 0;
                    for (int d = 0; d < dim; d++) dot += q[(h * s + i) * dim + d] * k[(group * s + j) * dim + d];
                    row[j] = dot / std::sqrt(float(dim));
                }
                const float most = *std::max_element(row, row + i + 1);
                for (int j = 0; j <= i; j++) sum += prob[j] = std::exp(row[j] - most);
                for (int j = 0; j <= i; j++) {
                    prob[j] /= sum;
                    for (int d = 0; d < dim; d++)
                        context[(i * heads + h) * dim + d] += prob[j] * v[(j * kv_heads + group) * dim + d];
                }
            }
        rbees::tap("self_attn.scores", scores.data(), {1, heads, s, s});
        rbees::tap("self_attn.probs", probs.data(), {1, heads, s, s});
        rbees::tap("self_attn.context", context.data(), {1, s, heads * dim});
        const Vec out = linear(here + ".o_proj", context, s);
        rbees::tap("self_attn.o_proj", out.data(), {1, s, hidden});
        return out;
    }

    Vec mlp(const std::string& here, const Vec& x, int s) const {
        const Vec gate = linear(here + ".gate_proj", x, s), up = linear(here + ".up_proj", x, s);
        Vec act(gate.size());
        for (size_t i = 0; i < act.size(); i++) act[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
        const int64_t ffn = int64_t(act.size()) / s;
        rbees::tap("mlp.gate_proj", gate.data(), {1, s, ffn});
        rbees::tap("mlp.up_proj", up.data(), {1, s, ffn});
        rbees::tap("mlp.act", act.data(), {1, s, ffn});
        const Vec down = linear(here + ".down_proj", act, s);
        rbees::tap("mlp.down_proj", down.data(), {1, s, hidden});
        return down;
    }

    // [s] -> logits [s, vocab]
    Vec forward(const std::vector<int>& ids) const {
        const int s = int(ids.size());
        rbees::tokens(ids.data(), {1, s});
        const Vec table = weights.get("model.embed_tokens.weight");
        Vec x;
        for (int id : ids) x.insert(x.end(), &table[id * hidden], &table[id * hidden] + hidden);
        rbees::tap("model.embed_tokens", x.data(), {1, s, hidden});
        const auto add = [&x](const Vec& y) { std::transform(x.begin(), x.end(), y.begin(), x.begin(), std::plus<>()); };
        for (int i = 0; i < layers; i++) {
            const std::string here = "model.layers." + std::to_string(i);
            Vec normed = norm(here + ".input_layernorm", x, s);
            rbees::tap("input_layernorm", normed.data(), {1, s, hidden});
            add(attention(here + ".self_attn", normed, s));
            rbees::tap("post_attention_layernorm.input", x.data(), {1, s, hidden});
            normed = norm(here + ".post_attention_layernorm", x, s);
            rbees::tap("post_attention_layernorm", normed.data(), {1, s, hidden});
            add(mlp(here + ".mlp", normed, s));
            rbees::tap("", x.data(), {1, s, hidden});
        }
        x = norm("model.norm", x, s);
        rbees::tap("model.norm", x.data(), {1, s, hidden});
        const Vec logits = linear(weights.has("lm_head.weight") ? "lm_head" : "model.embed_tokens", x, s);
        rbees::tap("lm_head", logits.data(), {1, s, vocab});
        return logits;
    }
};

int main(int count, char** args) try {
    if (count < 3) throw std::runtime_error("usage: llama FOLDER ID [ID ...]");
    const std::string folder = args[1];
    const Llama llama(folder, read(folder + "/config.json"));
    std::vector<int> ids;
    for (int i = 2; i < count; i++) ids.push_back(std::stoi(args[i]));
    if (std::any_of(ids.begin(), ids.end(), [&](int id) { return id < 0 || id >= llama.vocab; }))
        throw std::runtime_error("an id is outside the vocabulary of " + std::to_string(llama.vocab));
    rbees::about("model", folder);
    const Vec logits = llama.forward(ids);
    const auto last = logits.end() - llama.vocab;
    std::cout << std::max_element(last, logits.end()) - last << "\n";
} catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
}
