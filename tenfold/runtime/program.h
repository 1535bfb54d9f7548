// What runs: launches, copies and loops of them over numbered buffers, with a workspace of its own per call,
// so that several threads may run one program at once.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "tenfold/base/dim.h"
#include "tenfold/runtime/buffer.h"
#include "tenfold/runtime/code.h"

namespace tenfold {

struct Slot {  // a buffer of the program
  enum class Kind : uint8_t { input, output, temporary } kind = Kind::temporary;
  int index = -1;  // which argument or result
  Dim bytes;
  std::string name;
};

struct LaunchStep {
  std::string name;
  Code code;
  std::vector<int> buffers;  // one per kernel argument
  Dim blocks;
  bool serial = false;  // runs on the calling thread: a fork costs more than it gives
  bool uneven = false;  // blocks may take very different times: threads take them as they come
  double seconds = 0;   // predicted; a launch of more than kPieceSeconds is run in pieces
  double bytes = 0;     // predicted, read and written beyond the cache; for the profile
};

struct CopyStep {
  int from = -1, to = -1;
  // Where `from` is a box of `to`: its first element along each dimension, clamped so that it lies in `to`.
  struct Start {
    int slot = -1;      // an i64[], or
    int64_t value = 0;  // a number
  };
  std::vector<Start> starts = {};  // empty: all is copied
  Shape box = {}, shape = {};      // of `from` and of `to`, where there are starts
  int64_t element = 0;             // bytes
};

struct ProgramStep;

// Buffers are renamed, never copied: `value` and `next` change places after an iteration, a part is an
// address in its whole.
struct RepeatStep {
  Dim length;  // trips; not read by a while loop
  bool reverse = false;
  int step = -1;  // an i64[] that holds the iteration's number
  int go = -1;    // while loop: a bool buffer that `condition` writes; goes on while any element holds
  std::vector<ProgramStep> condition, body;
  struct Carry {
    int init, value, next;
  };
  std::vector<Carry> carries;
  struct Slice {
    int whole, part;  // part is row `step` of whole
  };
  std::vector<Slice> slices;
};

struct ProgramStep {
  std::variant<LaunchStep, CopyStep, std::shared_ptr<RepeatStep>> what;
};

// Seconds spent, by launch, for as long as the object lives; runs of this thread only. Profiles nest: the
// innermost counts.
class Profile {
 public:
  struct Row {
    std::string name;
    int64_t runs = 0;
    double seconds = 0;
    double bytes = 0;  // predicted, of all the runs
  };
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  const std::vector<Row>& rows() const { return rows_; }
  int64_t launches() const;
  std::string str() const;  // a table, the longest first
  void add(const std::string& name, double seconds, double bytes);

  static Profile* current();

 private:
  std::vector<Row> rows_;
  Profile* outer_;
};

// Called between launches and between the pieces of a long one, by the thread that runs the program, at most
// every kPieceSeconds; it stops the program by throwing.
void set_interrupt_check(void (*check)());
inline constexpr double kPieceSeconds = 0.05;

class Program {
 public:
  // `symbols`: the names that sizes and trip counts mention, in the order in which run() gets their values.
  // `device`: where the buffers lie and the launches run; null is the host.
  Program(std::vector<Slot> slots, std::vector<ProgramStep> steps, std::vector<std::string> symbols,
          Device* device = nullptr);
  ~Program();

  // An output that is already set is written in place (a donated argument, say); the others are allocated.
  void run(std::span<void* const> inputs, std::span<const int64_t> symbols,
           std::span<BufferRef> outputs) const;

  const std::vector<Slot>& slots() const { return slots_; }
  const std::vector<ProgramStep>& steps() const { return steps_; }
  const std::vector<std::string>& symbols() const { return symbols_; }
  Device* device() const { return device_; }

  // Where the temporaries lie in the workspace, for explain and tests: offset in bytes, -1 for inputs and
  // outputs.
  struct Layout {
    std::vector<int64_t> offsets;
    std::vector<int64_t> bytes;  // of every slot
    int64_t total = 0;
  };
  std::shared_ptr<const Layout> layout(std::span<const int64_t> symbols) const;

 private:
  struct Interval {
    int first = 0, last = -1;  // steps in which the slot is alive, inclusive
  };
  struct Run;

  std::vector<Slot> slots_;
  std::vector<ProgramStep> steps_;
  std::vector<std::string> symbols_;
  Device* device_ = nullptr;
  std::vector<Interval> alive_;
  std::vector<int> input_slots_, output_slots_;
  mutable std::mutex mutex_;  // guards the last layout
  mutable std::vector<int64_t> last_symbols_;
  mutable std::shared_ptr<const Layout> last_layout_;
  std::shared_ptr<const Layout> fixed_layout_;  // of a program without symbols
  mutable std::shared_ptr<void> replay_;        // the device's; goes before the code that it launches
};

}  // namespace tenfold
