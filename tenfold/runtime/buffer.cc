#include "tenfold/runtime/buffer.h"

#include "tenfold/runtime/allocator.h"

namespace tenfold {

Buffer::Buffer(size_t bytes) : data_(static_cast<std::byte*>(allocate(bytes))), bytes_(bytes) {}

Buffer::Buffer(void* foreign, size_t bytes, std::function<void()> deleter)
    : data_(static_cast<std::byte*>(foreign)), bytes_(bytes), foreign_(true), deleter_(std::move(deleter)) {}

Buffer::~Buffer() {
  if (!foreign_)
    release(data_, bytes_);
  else if (deleter_)
    deleter_();
}

}  // namespace tenfold
