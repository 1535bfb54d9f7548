#include "tenfold/target/symbols.h"

#include <map>

#include "tenfold/tile/program.h"

namespace tenfold {
namespace {

void add_symbols(const Form& f, std::map<std::string, Symbol>& into) {
  f.offset.symbols(into);
  for (const Term& t : f.terms) t.coef.symbols(into);
}

void add_symbols(const tile::Body& body, std::map<std::string, Symbol>& into) {
  for (const tile::Item& item : body) {
    if (const auto* s = std::get_if<tile::Stmt>(&item)) {
      for (const Form& f : s->forms) add_symbols(f, into);
      for (const auto& o : s->operands)
        for (const Form& f : o.at) add_symbols(f, into);
    } else if (const auto* l = std::get_if<std::unique_ptr<tile::Loop>>(&item)) {
      add_symbols((*l)->condition, into);
      add_symbols((*l)->body, into);
      for (const auto& c : (*l)->carries)
        for (const Form& f : c.next.at) add_symbols(f, into);
    } else {
      add_symbols(std::get<std::unique_ptr<tile::If>>(item)->body, into);
    }
  }
}

}  // namespace

std::vector<std::string> symbol_names(const tile::Kernel& k) {
  std::map<std::string, Symbol> symbols;
  for (const auto& a : k.args)
    for (const Dim& d : a.shape) d.symbols(symbols);
  for (const auto& a : k.atoms) a.extent.symbols(symbols);
  for (const auto& g : k.guards) {
    add_symbols(g.form, symbols);
    g.limit.symbols(symbols);
  }
  add_symbols(k.body, symbols);
  std::vector<std::string> names;
  for (const auto& [name, symbol] : symbols) names.push_back(name);
  return names;
}

}  // namespace tenfold
