// Files of a cache folder that many processes share. A file is written under another name and renamed, so a
// reader sees all of it or nothing; its header tells its length and checksum, so what is cut off or foreign
// is as good as absent.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace tenfold {

class DiskCache {
 public:
  DiskCache(std::string folder,
            int64_t bytes);  // an empty folder name keeps nothing; `bytes` bounds the files' sum

  // Keys are hexadecimal digests. A hit counts as use; what fails its checks is removed.
  std::optional<std::string> load(const std::string& key) const;
  // Never throws: a cache that cannot be written is a slow cache. The least recently used files go first.
  void store(const std::string& key, std::string_view content) noexcept;

  const std::string& folder() const { return folder_; }

 private:
  void trim();

  std::string folder_;
  int64_t bytes_;
  std::mutex mutex_;
  int64_t written_ = 0;  // since the last trim
};

// A file's length and time, or "absent": what a build makes must not be taken for another's.
std::string file_stamp(const std::string& path);
std::string file_of(
    const void* code);  // the file of a function: the library, or the executable that holds it

DiskCache& disk_cache();  // of TENFOLD_CACHE_DIR and TENFOLD_CACHE_BYTES, read once

}  // namespace tenfold
