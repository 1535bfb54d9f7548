#include "tenfold/runtime/disk_cache.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <sys/stat.h>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include "tenfold/base/error.h"
#include "tenfold/base/fault.h"
#include "tenfold/base/hash.h"
#include "tenfold/base/knobs.h"

namespace tenfold {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'t', 'e', 'n', 'f', 'o', 'l', 'd', '\n'};
constexpr uint32_t kVersion = 1;
constexpr std::string_view kSuffix = ".kernel";
constexpr std::string_view kTemporary = ".tmp-";
constexpr auto kAbandoned = std::chrono::hours(1);  // a temporary file this old belongs to nobody
constexpr double kTrimTo = 0.9;                     // of the limit, so that not every store trims
constexpr uint64_t kScanEvery = 64;                 // stores, whoever makes them

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t key_bytes;
  uint64_t length;
  uint64_t checksum;  // of key and content
};

uint64_t checksum(std::string_view key, std::string_view content) {
  return hash_bytes(content.data(), content.size(), hash_bytes(key.data(), key.size()));
}

bool write_all(int file, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(file, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool is_key(const std::string& key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) { return std::isalnum(c); });
}

}  // namespace

DiskCache::DiskCache(std::string folder, int64_t bytes) : folder_(std::move(folder)), bytes_(bytes) {}

std::optional<std::string> DiskCache::load(const std::string& key) const {
  if (folder_.empty() || !is_key(key)) return {};
  const std::string path = folder_ + "/" + key + std::string(kSuffix);
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::string bytes;
  struct stat info{};
  bool good = ::fstat(file, &info) == 0 && S_ISREG(info.st_mode) &&
              info.st_size >= static_cast<off_t>(sizeof(Header) + key.size());
  if (good) {
    bytes.resize(static_cast<size_t>(info.st_size));
    size_t have = 0;
    while (have < bytes.size()) {
      const ssize_t n = ::read(file, bytes.data() + have, bytes.size() - have);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      have += static_cast<size_t>(n);
    }
    good = have == bytes.size();
  }
  std::optional<std::string> content;
  if (good) {
    Header h;
    std::memcpy(&h, bytes.data(), sizeof h);
    const std::string_view rest = std::string_view(bytes).substr(sizeof h);
    const std::string_view own = fault("disk_cache_foreign") ? rest.substr(0, key.size()) : key;
    good = std::memcmp(h.magic, kMagic, sizeof kMagic) == 0 && h.version == kVersion &&
           h.key_bytes == key.size() && rest.substr(0, key.size()) == own &&
           h.length == rest.size() - key.size() && h.checksum == checksum(own, rest.substr(key.size()));
    if (good) content = std::string(rest.substr(key.size()));
  }
  if (good)
    ::futimens(file, nullptr);
  else
    ::unlink(path.c_str());
  ::close(file);
  return content;
}

void DiskCache::store(const std::string& key, std::string_view content) noexcept try {
  if (folder_.empty() || !is_key(key)) return;
  const auto size = static_cast<int64_t>(sizeof(Header) + key.size() + content.size());
  if (size > bytes_) return;
  const std::lock_guard lock(mutex_);
  std::error_code ignored;
  fs::create_directories(folder_, ignored);
  static std::atomic<uint64_t> count{0};
  const std::string temporary = fmt::format("{}/{}{}-{}", folder_, kTemporary, ::getpid(), count++);
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return;
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.key_bytes = static_cast<uint32_t>(key.size());
  h.length = content.size();
  h.checksum = checksum(key, content);
  const bool written = write_all(file, &h, sizeof h) && write_all(file, key.data(), key.size()) &&
                       write_all(file, content.data(), content.size());
  const bool closed = ::close(file) == 0;
  const std::string path = folder_ + "/" + key + std::string(kSuffix);
  if (!written || !closed || ::rename(temporary.c_str(), path.c_str()) != 0) {
    ::unlink(temporary.c_str());
    return;
  }
  // A scan of the folder costs as much as a hundred stores: when enough was added here to matter, and now and
  // then for what many processes add that write a little each.
  written_ += size;
  const bool now_and_then = hash_bytes(key.data(), key.size()) % kScanEvery == 0;
  if (now_and_then || written_ > static_cast<int64_t>((1 - kTrimTo) / 2 * static_cast<double>(bytes_)))
    trim();
} catch (...) {
}

void DiskCache::trim() {
  struct Entry {
    fs::path path;
    fs::file_time_type time;
    int64_t size;
  };
  std::vector<Entry> entries;
  int64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code gone;  // another process may have removed it
    const auto time = it->last_write_time(gone);
    const auto size = static_cast<int64_t>(it->file_size(gone));
    if (gone) continue;
    if (name.starts_with(kTemporary)) {
      if (fs::file_time_type::clock::now() - time > kAbandoned) fs::remove(it->path(), gone);
    } else if (name.ends_with(kSuffix)) {
      entries.push_back({it->path(), time, size});
      total += size;
    }
  }
  written_ = 0;
  const auto margin = static_cast<int64_t>((1 - kTrimTo) / 2 * static_cast<double>(bytes_));
  if (total <= bytes_ - margin) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.time < b.time; });
  const auto goal = static_cast<int64_t>(kTrimTo * static_cast<double>(bytes_));
  for (const Entry& e : entries) {
    if (total <= goal) break;
    std::error_code gone;
    fs::remove(e.path, gone);
    total -= e.size;
  }
}

std::string file_stamp(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return "absent";
  return fmt::format("{} {}.{}", info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

std::string file_of(const void* code) {
  Dl_info info;
  return dladdr(code, &info) && info.dli_fname ? info.dli_fname : std::string();
}

DiskCache& disk_cache() {
  static DiskCache cache(knob("TENFOLD_CACHE_DIR"), knob_int("TENFOLD_CACHE_BYTES"));
  return cache;
}

}  // namespace tenfold
