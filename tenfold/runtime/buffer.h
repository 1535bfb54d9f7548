// Memory that somebody shares: a block of the allocator, or foreign memory with what releases it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace tenfold {

class Device;

class Buffer {
 public:
  explicit Buffer(size_t bytes, Device* = nullptr);  // of the allocator, or of a device; not cleared
  Buffer(void* foreign, size_t bytes,
         std::function<void()> deleter);  // deleter: called once, from any thread
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }   // on a device: an opaque address
  Device* device() const { return device_; }  // null: the host
  size_t bytes() const { return bytes_; }
  bool foreign() const { return foreign_; }

 private:
  std::byte* data_;
  size_t bytes_;
  bool foreign_ = false;
  Device* device_ = nullptr;
  std::function<void()> deleter_;
};

using BufferRef = std::shared_ptr<Buffer>;

}  // namespace tenfold
