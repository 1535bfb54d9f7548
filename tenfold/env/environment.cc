#include "tenfold/env/environment.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>
#include <utility>

#include "tenfold/base/error.h"
#include "tenfold/lang/function.h"
#include "tenfold/lang/random.h"

namespace tenfold::env {
namespace {

struct Entry {
  std::string doc;
  Maker make;
};
std::map<std::string, Entry>& registry() {
  static auto* const entries = new std::map<std::string, Entry>;
  return *entries;
}

// Letters to insert, delete or replace; upper and lower case are one.
size_t distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (lower(a[i]) != lower(b[j]));
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// The known id that was probably meant; empty if none is near.
std::string nearest(const std::string& id) {
  std::string best;
  size_t least = std::max<size_t>(2, id.size() / 3) + 1;
  for (const auto& [name, entry] : registry())
    if (const size_t d = distance(id, name); d < least) {
      least = d;
      best = name;
    }
  return best;
}

}  // namespace

std::string Environment::state_label(size_t i) const {
  const std::vector<std::string> names = state_names();
  return i < names.size() ? "state." + names[i] : fmt::format("state[{}]", i);
}

Tensors Environment::random_action(const Tensor& key, const Tensor& t) const {
  constexpr int kTopBit = 31;
  return {lang::astype(lang::random::bits(key, {}, t) >> kTopBit, Dtype::i32)};
}

Registration::Registration(std::string id, std::string doc, Maker maker) {
  const bool is_new = registry().try_emplace(id, Entry{std::move(doc), std::move(maker)}).second;
  TENFOLD_CHECK(is_new, "the environment {} is registered twice", id);
}

EnvironmentRef make(const std::string& id, Dtype dtype) {
  const auto found = registry().find(id);
  if (found == registry().end()) {
    std::string ids;
    for (const auto& [name, entry] : registry()) ids += (ids.empty() ? "" : ", ") + name;
    const std::string meant = nearest(id);
    user_error("there is no environment \"{}\"; known are: {}.{}", id, ids,
               meant.empty() ? "" : fmt::format(" Did you mean \"{}\"?", meant));
  }
  if (dtype != Dtype::f32 && dtype != Dtype::f64)
    user_error("{} computes in f32 or f64, not in {}.", id, tenfold::name(dtype));
  return found->second.make(dtype);
}

std::vector<Known> known() {
  std::vector<Known> out;
  for (const auto& [id, entry] : registry()) out.push_back({id, entry.doc});
  return out;
}

}  // namespace tenfold::env
