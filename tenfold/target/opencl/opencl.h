// OpenCL devices beside those of the list: one opened anew, with limits that are not its own. Tests hold the
// emitter to what other devices have.
#pragma once

#include <memory>
#include <optional>

#include "tenfold/target/ctext/emit.h"
#include "tenfold/target/devices.h"

namespace tenfold::opencl {

// DeviceError where there is no such device.
std::shared_ptr<DeviceTarget> open_device(int index, const std::optional<ctext::Limits>& = {});

}  // namespace tenfold::opencl
