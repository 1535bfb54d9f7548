// The devices that targets bring along. A target's folder registers its kind; nothing else knows it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tenfold/runtime/code.h"
#include "tenfold/runtime/device.h"

namespace tenfold {

// One device and the compiler for it. Lives as long as the process.
class DeviceTarget : public Target {
 public:
  virtual Device& device() = 0;
  virtual std::string description() const = 0;   // "PoCL 3.1: EPYC, 2 units, 1024 KiB local"
  virtual std::string_view machine() const = 0;  // its class: the record that plans are made with
};

struct DeviceKind {
  std::string_view name;               // "opencl"
  int (*count)(std::string& missing);  // 0: `missing` says what is, and what to install
  std::shared_ptr<DeviceTarget> (*open)(int index);
};

// A folder's source ends with `const RegisteredKind kRegistered{kKind};`
struct RegisteredKind {
  explicit RegisteredKind(const DeviceKind&);
};

// "opencl:0", or "opencl" for the first one; null for "cpu". UserError where the name means nothing,
// DeviceError where the device is not there. The same object for the same device.
std::shared_ptr<DeviceTarget> device_target(std::string_view name);
std::string device_name(const Device*);  // "cpu" for null

struct DeviceRow {
  std::string name;         // "opencl:0"; a kind without a device: "opencl"
  std::string description;  // or why there is none
  std::string machine;      // empty where there is none
};
std::vector<DeviceRow> list_devices();  // all but the cpu

}  // namespace tenfold
