// The status as JSON (deploy/API.md): a snapshot and the configuration, in words for people and
// programs. Every key is always there; what is not known is null. No secret is in either.
//
// Pure; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "server/alarms.h"
#include "server/config.h"
#include "server/history.h"
#include "server/snapshot.h"

namespace timeball::server {

boost::json::object status_json(const Snapshot& snapshot, const RaisedAlarms& alarms,
                                const Config& config);
// The part about the master keys: identifiers and ages, never a key.
boost::json::object keys_json(const KeysSample& keys, const Config& config);
boost::json::array alarms_json(const RaisedAlarms& alarms);
boost::json::object history_json(const History& history);
boost::json::object clients_json(const std::vector<BusyClient>& clients);
// Every setting in force, as TOML.
boost::json::array config_json(const Config& config);

}  // namespace timeball::server
