// The tenfold command.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <new>

#include <CLI/CLI.hpp>
#include <fmt/ranges.h>

#include "tenfold/base/error.h"

#include "commands.h"

namespace {

// A word that is no command: named, where CLI11 would only say that it needs one.
void check_command(CLI::App& app, std::string_view word) {
  if (word.empty() || word[0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == word) return;
    names.push_back(command->get_name());
  }
  tenfold::user_error("there is no command \"{}\"; the commands are {}", word, fmt::join(names, ", "));
}

}  // namespace

int main(int count, char** arguments) {
  CLI::App app{"tenfold compiles tensor programs: many operations, folded into one pass."};
  app.set_version_flag("--version", "tenfold " TENFOLD_VERSION);
  app.require_subcommand(1);
  tenfold::cli::add_run(app);
  tenfold::cli::add_explain(app);
  tenfold::cli::add_plan(app);
  tenfold::cli::add_probe(app);
  tenfold::cli::add_knobs(app);
  tenfold::cli::add_rollout(app);
  tenfold::cli::add_devices(app);
  try {
    if (count > 1) check_command(app, arguments[1]);
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const tenfold::UserError& error) {
    std::cerr << "tenfold: " << error.what() << "\n";
    return 1;
  } catch (const std::bad_alloc&) {
    std::cerr << "tenfold: there is not enough memory; run it with smaller inputs\n";
    return 3;
  } catch (const std::exception& error) {
    std::cerr << "tenfold: " << error.what() << "\n";
    return 3;
  }
  return 0;
}
