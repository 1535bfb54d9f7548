#include "tenfold/runtime/buffer.h"

#include "tenfold/runtime/allocator.h"
#include "tenfold/runtime/device.h"

namespace tenfold {

Buffer::Buffer(size_t bytes, Device* device)
    : data_(static_cast<std::byte*>(device ? device->allocate(bytes) : allocate(bytes))),
      bytes_(bytes),
      device_(device) {}

Buffer::Buffer(void* foreign, size_t bytes, std::function<void()> deleter)
    : data_(static_cast<std::byte*>(foreign)), bytes_(bytes), foreign_(true), deleter_(std::move(deleter)) {}

Buffer::~Buffer() {
  if (device_)
    device_->release(data_, bytes_);
  else if (!foreign_)
    release(data_, bytes_);
  else if (deleter_)
    deleter_();
}

}  // namespace tenfold
