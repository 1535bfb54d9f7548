// tenfold rollout CartPole-v1 --envs N --steps K
#include "tenfold/env/rollout.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <limits>

#include <fmt/format.h>

#include "tenfold/base/error.h"
#include "tenfold/compile/explain.h"
#include "tenfold/lang/random.h"

#include "commands.h"

namespace tenfold::cli {
namespace {

struct Settings {
  std::string id;
  int64_t envs = 4096, steps = 1000, seed = 0;
  int repeat = 5;
  std::string dtype = "f32";
  bool explain = false, list = false;
};

void rollout(const Settings& s) {
  if (s.list) {
    for (const env::Known& k : env::known()) std::cout << fmt::format("{:16} {}\n", k.id, k.doc);
    return;
  }
  if (s.id.empty()) user_error("which environment? `tenfold rollout --list` shows them.");
  const auto dtype = parse_dtype(s.dtype);
  if (!dtype) user_error("{} is no dtype: f32 or f64.", s.dtype);
  const env::Rollout run(env::make(s.id, *dtype), nullptr, {.num_envs = s.envs, .steps = s.steps});
  const lang::Tensor key = lang::random::key(s.seed);
  key.evaluate();

  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  const auto begun = Clock::now();
  const auto compiled = run.compiled(key);
  const double compile_seconds = seconds(begun);
  const compile::Explanation explanation = compile::explain(compiled->executable());
  if (s.explain) std::cout << explanation.str() << "\n";

  double best = 1e300;
  env::Trajectory out;
  for (int i = 0; i < s.repeat; ++i) {
    const auto start = Clock::now();
    out = run(key);
    best = std::min(best, seconds(start));
  }
  double total = 0, episodes = 0;
  for (float r : out.returns.to_vector<float>()) total += r;
  for (int32_t e : out.episodes.to_vector<int32_t>()) episodes += e;
  std::cout << fmt::format(
      "{}: {} environments x {} steps at random, seed {}\n"
      "compiled   {:.0f} ms; {} launch{}, {:.1f} KB moved, {:.1f} KB at least\n"
      "ran        {:.2f} ms, {:.1f} million steps/s (best of {})\n"
      "episodes   {:.0f} ended, {:.1f} reward each on average\n",
      s.id, s.envs, s.steps, s.seed, compile_seconds * 1e3, explanation.launches,
      explanation.launches == 1 ? "" : "es", (explanation.bytes_read + explanation.bytes_written) / 1e3,
      explanation.bytes_least / 1e3, best * 1e3, static_cast<double>(s.envs * s.steps) / best / 1e6, s.repeat,
      episodes, total / std::max(1.0, episodes));
}

}  // namespace

void add_rollout(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("rollout", "Simulate environments at random, and say how fast.");
  command->add_option("environment", settings->id, "Id of an environment, CartPole-v1 say");
  command->add_option("--envs", settings->envs, "How many environments")->capture_default_str();
  command->add_option("--steps", settings->steps, "Steps of each")->capture_default_str();
  command->add_option("--seed", settings->seed, "Of the random numbers")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()));
  command->add_option("--repeat", settings->repeat, "Runs to take the best time of")
      ->capture_default_str()
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  command->add_option("--dtype", settings->dtype, "f32 or f64")->capture_default_str();
  command->add_flag("--explain", settings->explain, "Print what the program costs");
  command->add_flag("--list", settings->list, "Print the environments that are known");
  command->callback([settings] { rollout(*settings); });
}

}  // namespace tenfold::cli
