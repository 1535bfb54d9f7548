// Hashing: in-memory keys (hash_combine, hash_bytes) and names of cached files (digest).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tenfold {

// Order matters: combine(combine(0, a), b) differs from combine(combine(0, b), a).
constexpr size_t hash_combine(size_t seed, size_t hash) {
  return seed ^ (hash + 0x9e3779b97f4a7c15u + (seed << 6) + (seed >> 2));
}
template <class T>
size_t hash_of(size_t seed, const T& value) {
  return hash_combine(seed, std::hash<T>{}(value));
}

uint64_t hash_bytes(const void* data, size_t size, uint64_t seed = 0);  // XXH3, the same on every machine
std::string digest(std::string_view);                                   // XXH3-128, as 32 hexadecimal digits

}  // namespace tenfold
