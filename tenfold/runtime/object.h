// Machine code from a relocatable ELF file (x86-64), so that a cached kernel runs without LLVM in the
// process. The file may call nothing but the few C functions that object.cc lists.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace tenfold {

class LoadedObject {
 public:
  ~LoadedObject();
  void* find(const std::string& function) const;  // null if there is none

 private:
  friend std::shared_ptr<LoadedObject> load_object(std::string_view bytes);
  LoadedObject() = default;
  void* memory_ = nullptr;
  size_t size_ = 0;
  std::map<std::string, void*> functions_;
};

// InternalError where the file is none, is cut off, or holds what the loader does not know; every offset is
// checked.
std::shared_ptr<LoadedObject> load_object(std::string_view bytes);

}  // namespace tenfold
