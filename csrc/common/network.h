// The small network of a field on the CPU: feature of a point -> density and colours, forward and backward.
//
// Weights are copied once a call into the layouts that the products read: transposed, rows padded to whole vectors.
#pragma once

#include <cstdlib>
#include <memory>

#include "numbers.h"
#include "vector.h"

namespace semhead {

template <typename T>
class Buffer {  // zeroed numbers on a 64-byte boundary
public:
    Buffer() = default;
    explicit Buffer(int64_t n) : size_(n) {
        const size_t bytes = (static_cast<size_t>(n > 0 ? n : 1) * sizeof(T) + 63) / 64 * 64;
        data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
        if (!data_) throw std::bad_alloc();
        std::memset(data_.get(), 0, bytes);
    }
    operator T*() { return data_.get(); }
    operator const T*() const { return data_.get(); }
    int64_t size() const { return size_; }

private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T, Free> data_;
    int64_t size_ = 0;
};

template <typename T>
struct Network {
    int channels, hidden, outputs;  // widths
    int cp, hp, op;                 // the same, padded
    Buffer<T> first, first_bias;    // [channels, hp], [hp]
    Buffer<T> second, second_bias;  // [hidden, op], [op]: colours
    Buffer<T> density;              // [hp]
    T density_bias;
    Buffer<T> first_rows, second_rows;  // [hidden, cp], [outputs, hp]: for the backward pass

    Network(int c, int h, int o, const T* w1, const T* b1, const T* w2, const T* b2)
        : channels(c), hidden(h), outputs(o), cp(padded<T>(c)), hp(padded<T>(h)), op(padded<T>(o)), first(c * hp),
          first_bias(hp), second(h * op), second_bias(op), density(hp), density_bias(b2[0]), first_rows(h * cp),
          second_rows(o * hp) {
        for (int j = 0; j < h; ++j) {
            first_bias[j] = b1[j];
            density[j] = w2[j];
            for (int k = 0; k < c; ++k) first[k * hp + j] = first_rows[j * cp + k] = w1[j * c + k];
            for (int k = 0; k < o; ++k) second[j * op + k] = second_rows[k * hp + j] = w2[(1 + k) * h + j];
        }
        for (int k = 0; k < o; ++k) second_bias[k] = b2[1 + k];
    }

    // features [n, cp] -> hidden layer [n, hp], raw density [n], colours [n, op]
    void forward(int n, const T* f, T* h, T* raw, T* colours) const {
        constexpr int L = kLanes<T>;
        product<T>(n, hp, channels, f, cp, 1, first, hp, h, hp, first_bias);
        for (int i = 0; i < n; ++i) {
            Vec<T> dot = {};
            for (int j = 0; j < hp; j += L) {
                const Vec<T> value = softplus<T>(load(h + i * hp + j));
                store(h + i * hp + j, value);
                dot += value * load(static_cast<const T*>(density) + j);
            }
            raw[i] = sum<T>(dot) + density_bias;
        }
        product<T>(n, op, hidden, h, hp, 1, second, op, colours, op, second_bias);
        for (int64_t i = 0; i < int64_t(n) * op; i += L)
            store(colours + i, T(1 + 2 * kSpill) * sigmoid<T>(load(colours + i)) - T(kSpill));
    }
};

// Gradients of the weights, in the layouts of Network.
template <typename T>
struct NetworkGradients {
    Buffer<T> first, first_bias, second, second_bias, density, density_bias;

    explicit NetworkGradients(const Network<T>& net)
        : first(net.channels * net.hp), first_bias(net.hp), second(net.hidden * net.op), second_bias(net.op),
          density(net.hp), density_bias(1) {}

    void add(const NetworkGradients& other) {
        Buffer<T>* mine[] = {&first, &first_bias, &second, &second_bias, &density, &density_bias};
        const Buffer<T>* theirs[] = {&other.first, &other.first_bias, &other.second, &other.second_bias, &other.density,
                                     &other.density_bias};
        for (int k = 0; k < 6; ++k)
            for (int64_t i = 0; i < mine[k]->size(); ++i) (*mine[k])[i] += (*theirs[k])[i];
    }

    void write(const Network<T>& net, T* w1, T* b1, T* w2, T* b2) const {
        for (int j = 0; j < net.hidden; ++j) {
            b1[j] = first_bias[j];
            w2[j] = density[j];
            for (int k = 0; k < net.channels; ++k) w1[j * net.channels + k] = first[k * net.hp + j];
            for (int k = 0; k < net.outputs; ++k) w2[(1 + k) * net.hidden + j] = second[j * net.op + k];
        }
        b2[0] = density_bias[0];
        for (int k = 0; k < net.outputs; ++k) b2[1 + k] = second_bias[k];
    }
};

// Backward of n points. On entry `colours` holds the colours and `d_colours` [n, op] their gradients, `d_raw` [n] those
// of the raw density; both `h` and `d_colours` are used up. Writes `d_f` [n, cp]; adds to `grads` unless it is null.
template <typename T>
void network_backward(const Network<T>& net, int n, const T* f, T* h, const T* colours, T* d_colours, const T* d_raw,
                      T* d_h, T* d_f, NetworkGradients<T>* grads) {
    constexpr int L = kLanes<T>;
    const int hp = net.hp, op = net.op, cp = net.cp;
    for (int64_t i = 0; i < int64_t(n) * op; i += L) {  // through the sigmoid
        const Vec<T> s = (load(colours + i) + T(kSpill)) * T(1 / (1 + 2 * kSpill));
        store(d_colours + i, load(d_colours + i) * s * (T(1) - s) * T(1 + 2 * kSpill));
    }
    if (grads) {
        product<T>(net.hidden, op, n, h, 1, hp, d_colours, op, grads->second, op, nullptr, true);
        for (int i = 0; i < n; ++i) {
            for (int k = 0; k < op; k += L)
                store(grads->second_bias + k, load<T>(grads->second_bias + k) + load(d_colours + i * op + k));
            for (int j = 0; j < hp; j += L)
                store(grads->density + j, load<T>(grads->density + j) + d_raw[i] * load(h + i * hp + j));
            grads->density_bias[0] += d_raw[i];
        }
    }
    product<T>(n, hp, net.outputs, d_colours, op, 1, net.second_rows, hp, d_h, hp);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < hp; j += L) {  // through the softplus: its slope is 1 - exp(-softplus)
            const Vec<T> slope = T(1) - exp_of(-load(h + i * hp + j));
            const Vec<T> d = load(d_h + i * hp + j) + d_raw[i] * load(static_cast<const T*>(net.density) + j);
            store(d_h + i * hp + j, d * slope);
        }
    if (grads) {
        product<T>(net.channels, hp, n, f, 1, cp, d_h, hp, grads->first, hp, nullptr, true);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < hp; j += L)
                store(grads->first_bias + j, load<T>(grads->first_bias + j) + load(d_h + i * hp + j));
    }
    product<T>(n, cp, net.hidden, d_h, hp, 1, net.first_rows, cp, d_f, cp);
}

}  // namespace semhead
