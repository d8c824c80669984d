// The other half of link_units.
#include <millpond.hpp>

std::size_t other_unit(const millpond::pool &pool);

std::size_t other_unit(const millpond::pool &pool) { return pool.get(10).size(); }
