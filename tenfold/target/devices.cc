#include "tenfold/target/devices.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<const DeviceKind*> kinds;
  std::map<std::string, std::shared_ptr<DeviceTarget>> open;
};

// Never destroyed: buffers on devices may outlive static destructors.
Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

}  // namespace

RegisteredKind::RegisteredKind(const DeviceKind& kind) {
  auto& kinds = registry().kinds;
  kinds.insert(std::ranges::upper_bound(kinds, kind.name, {}, &DeviceKind::name), &kind);
}

std::shared_ptr<DeviceTarget> device_target(std::string_view asked) {
  if (asked == "cpu" || asked == "cpu:0") return nullptr;
  const size_t colon = asked.find(':');
  const std::string_view kind_name = asked.substr(0, colon);
  const std::string_view number = colon == std::string_view::npos ? "0" : asked.substr(colon + 1);
  int index = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  Registry& r = registry();
  const auto kind = std::ranges::find(r.kinds, kind_name, &DeviceKind::name);
  if (kind == r.kinds.end() || error != std::errc{} || end != number.data() + number.size() || index < 0) {
    std::string kinds;
    for (const DeviceKind* k : r.kinds) kinds += fmt::format(", {}:0", k->name);
    user_error("there is no device \"{}\": take cpu{} (`tenfold devices` lists what this machine has)", asked,
               kinds);
  }
  const std::string name = fmt::format("{}:{}", kind_name, index);
  const std::lock_guard lock(r.mutex);
  if (const auto found = r.open.find(name); found != r.open.end()) return found->second;
  std::string missing;
  const int count = (*kind)->count(missing);
  if (count == 0) throw DeviceError(fmt::format("device {}: {}. The cpu goes on working.", name, missing));
  if (index >= count)
    throw DeviceError(fmt::format("device {}: this machine has {} of that kind, {}:0 to {}:{}", name, count,
                                  kind_name, kind_name, count - 1));
  return r.open[name] = (*kind)->open(index);
}

std::string device_name(const Device* device) { return device ? device->name() : "cpu"; }

std::vector<DeviceRow> list_devices() {
  std::vector<DeviceRow> rows;
  for (const DeviceKind* kind : registry().kinds) {
    std::string missing;
    const int count = kind->count(missing);
    if (count == 0) rows.push_back({std::string(kind->name), missing, ""});
    for (int i = 0; i < count; ++i) {
      const std::string name = fmt::format("{}:{}", kind->name, i);
      try {
        const auto target = device_target(name);
        rows.push_back({name, target->description(), std::string(target->machine())});
      } catch (const DeviceError& error) {
        rows.push_back({name, error.what(), ""});
      }
    }
  }
  return rows;
}

}  // namespace tenfold
