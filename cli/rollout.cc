// tenfold rollout CartPole-v1 --envs N --steps K
#include "commands.h"

namespace tenfold::cli {

void add_rollout(CLI::App&) {}  // added with the environments

}  // namespace tenfold::cli
