#include "pool.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace hand {
namespace {

constexpr auto kSpin = std::chrono::milliseconds(1);
constexpr int kTurnsToYield = 4096;

// One worker's mailbox, alone on its cache line.
struct alignas(64) Worker {
  std::atomic<uint32_t> posted{0}, finished{0};
  Work work = nullptr;
  void* context = nullptr;
  int part = 0, parts = 0;
};

void pause() { __builtin_ia32_pause(); }

void serve(Worker& worker) {
  for (uint32_t seen = 0;; ++seen) {
    const auto start = std::chrono::steady_clock::now();
    for (int turn = 1; worker.posted.load(std::memory_order_acquire) == seen; ++turn) {
      pause();
      if (turn % 64 == 0 && std::chrono::steady_clock::now() - start > kSpin) worker.posted.wait(seen);
    }
    worker.work(worker.context, worker.part, worker.parts);
    worker.finished.store(seen + 1, std::memory_order_release);
  }
}

// Workers live as long as the process: they are started once and detached.
Worker& worker_number(size_t i) {
  static auto& workers = *new std::vector<std::unique_ptr<Worker>>;
  while (workers.size() <= i) {
    Worker& worker = *workers.emplace_back(std::make_unique<Worker>());
    std::thread([&worker] { serve(worker); }).detach();
  }
  return *workers[i];
}

}  // namespace

void run_parts(Work work, void* context, int parts) {
  for (int part = 1; part < parts; ++part) {
    Worker& w = worker_number(part - 1);
    w.work = work, w.context = context, w.part = part, w.parts = parts;
    w.posted.fetch_add(1, std::memory_order_release);
    w.posted.notify_one();
  }
  work(context, 0, parts);
  for (int part = 1; part < parts; ++part) {
    Worker& w = worker_number(part - 1);
    // Whoever else runs may hold the core that the worker needs.
    for (int turn = 1; w.finished.load(std::memory_order_acquire) != w.posted.load(std::memory_order_relaxed);
         ++turn)
      turn % kTurnsToYield ? pause() : std::this_thread::yield();
  }
}

}  // namespace hand
