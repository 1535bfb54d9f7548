// A place beside the host where buffers lie and kernels run. The host's own memory and threads are no Device:
// a null Device* stands for them, and its calls stay direct.
//
// A buffer on a device is known by an opaque address: nothing may be read through it, but sums with offsets
// inside the buffer are addresses too, so that parts, workspaces and renamed buffers work as on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "tenfold/runtime/allocator.h"
#include "tenfold/runtime/code.h"

namespace tenfold {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;  // "opencl:0"

  virtual void* allocate(size_t bytes) = 0;  // DeviceError if there is no memory left
  virtual void release(void* address, size_t bytes) noexcept = 0;

  // Copies wait for what was launched before, and are done when they return; a copy on the device is only
  // ordered. A kernel that failed raises its DeviceError here.
  virtual void to_device(void* to, const void* from, size_t bytes) = 0;
  virtual void to_host(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;

  // Blocks [begin, end) of the grid, after what was launched before.
  virtual void launch(const Code&, void* const* buffers, const int64_t* symbols, int64_t begin,
                      int64_t end) = 0;
  virtual void set(void* to, int64_t value) { to_device(to, &value, sizeof value); }  // ordered like a launch

  // Does `work`, which launches, copies on the device and sets numbers, the same wherever `key` is the same.
  // A device may keep in `kept`, which is empty at first, what makes doing it again cost one call.
  virtual void replay([[maybe_unused]] std::shared_ptr<void>& kept,
                      [[maybe_unused]] std::span<const int64_t> key, const std::function<void()>& work) {
    work();
  }

  virtual void synchronize() = 0;
  virtual MemoryStatistics memory() const = 0;
};

}  // namespace tenfold
