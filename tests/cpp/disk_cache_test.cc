#include "tenfold/runtime/disk_cache.h"

#include <filesystem>
#include <fstream>
#include <sys/wait.h>
#include <thread>

#include <unistd.h>

#include <gtest/gtest.h>

#include "tenfold/base/hash.h"

namespace tenfold {
namespace {

namespace fs = std::filesystem;

class DiskCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("tenfold_cache_test_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string key(int i) { return digest("key " + std::to_string(i)); }
  fs::path path(int i) const { return folder_ / (key(i) + ".kernel"); }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const auto& e : fs::directory_iterator(folder_)) sum += static_cast<int64_t>(e.file_size());
    return sum;
  }

  fs::path folder_;
};

TEST_F(DiskCacheTest, GivesBackWhatWasStored) {
  DiskCache cache(folder_.string(), 1 << 20);
  EXPECT_FALSE(cache.load(key(1)));
  const std::string content("code\0with\nanything\xff", 18);
  cache.store(key(1), content);
  cache.store(key(2), "");
  EXPECT_EQ(cache.load(key(1)), content);
  EXPECT_EQ(cache.load(key(2)), "");
  cache.store(key(1), "newer");
  EXPECT_EQ(DiskCache(folder_.string(), 1 << 20).load(key(1)), "newer");
}

TEST_F(DiskCacheTest, NeverGivesATruncatedOrForeignFile) {
  DiskCache cache(folder_.string(), 1 << 20);
  const std::string content(1000, 'x');
  auto spoil = [&](auto change) {
    cache.store(key(1), content);
    change();
    EXPECT_FALSE(cache.load(key(1)));
    EXPECT_FALSE(fs::exists(path(1))) << "a bad file is removed";
  };
  for (const int size : {0, 7, 31, 32, 64, 500, 1063})
    spoil([&] { fs::resize_file(path(1), static_cast<uintmax_t>(size)); });
  spoil([&] {
    std::ofstream(path(1)) << "not a kernel at all, but long enough to hold a header and a key of 32 digits";
  });
  spoil([&] { std::ofstream(path(1), std::ios::app) << "more"; });
  for (const int at : {3, 9, 20, 40, 100, 1050})  // magic, version, length, key, content
    spoil([&] {
      std::fstream file(path(1), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(at);
      file.put('!');
    });
  cache.store(key(2), "another");
  spoil([&] { fs::rename(path(2), path(1)); });  // the file of another key
  cache.store(key(1), content);
  EXPECT_EQ(cache.load(key(1)), content);
}

TEST_F(DiskCacheTest, StaysWithinItsBoundAndKeepsWhatIsUsed) {
  const int64_t limit = 20000;
  DiskCache cache(folder_.string(), limit);
  const std::string content(1000, 'x');
  for (int i = 0; i < 100; ++i) {
    cache.store(key(i), content);
    if (fs::exists(path(0)))
      fs::last_write_time(path(0), fs::file_time_type::clock::now() + std::chrono::hours(1));
    if (i > 0) fs::last_write_time(path(i), fs::file_time_type::clock::now() - std::chrono::seconds(100 - i));
    EXPECT_LE(bytes(), limit) << i;
  }
  EXPECT_TRUE(cache.load(key(0))) << "used last";
  EXPECT_TRUE(cache.load(key(99)));
  EXPECT_FALSE(cache.load(key(1)));
  cache.store(key(200), std::string(30000, 'x'));  // larger than all
  EXPECT_FALSE(cache.load(key(200)));
}

TEST_F(DiskCacheTest, SeveralProcessesAndThreads) {
  std::vector<pid_t> children;
  for (int p = 0; p < 4; ++p) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      DiskCache cache(folder_.string(), 1 << 20);
      bool good = true;
      for (int round = 0; round < 200; ++round) {
        const int i = round % 8;
        const std::string content(static_cast<size_t>(2000 + i), static_cast<char>('a' + i));
        cache.store(key(i), content);
        const auto got = cache.load(key(i));
        good = good && (!got || *got == content);
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(pid);
  }
  DiskCache cache(folder_.string(), 1 << 20);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) cache.store(key(100 + round % 3), std::string(1000, 'y'));
    });
  for (auto& t : threads) t.join();
  for (const pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(cache.load(key(i)), std::string(static_cast<size_t>(2000 + i), static_cast<char>('a' + i)));
  for (const auto& e : fs::directory_iterator(folder_))
    EXPECT_EQ(e.path().extension(), ".kernel") << "no temporary file is left";
}

TEST_F(DiskCacheTest, WithoutAFolderNothingIsKept) {
  DiskCache none("", 1 << 20);
  none.store(key(1), "x");
  EXPECT_FALSE(none.load(key(1)));
  DiskCache unwritable("/proc/nowhere", 1 << 20);
  unwritable.store(key(1), "x");
  EXPECT_FALSE(unwritable.load(key(1)));
  DiskCache cache(folder_.string(), 1 << 20);
  cache.store("../escape", "x");  // not a key
  EXPECT_FALSE(fs::exists(folder_.parent_path() / "escape.kernel"));
}

}  // namespace
}  // namespace tenfold
