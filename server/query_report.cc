#include "server/query_report.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <array>
#include <boost/json.hpp>

#include "common/base/printable.h"
#include "common/time/duration_text.h"

namespace timeball::server {
namespace {

namespace json = boost::json;

const char* record_name(std::uint16_t type) {
  switch (static_cast<nts::RecordType>(type)) {
    case nts::RecordType::kEndOfMessage:
      return "End of Message";
    case nts::RecordType::kNextProtocol:
      return "Next Protocol";
    case nts::RecordType::kError:
      return "Error";
    case nts::RecordType::kWarning:
      return "Warning";
    case nts::RecordType::kAead:
      return "AEAD";
    case nts::RecordType::kNewCookie:
      return "New Cookie";
    case nts::RecordType::kServer:
      return "NTPv4 Server";
    case nts::RecordType::kPort:
      return "NTPv4 Port";
    case nts::RecordType::kCompliant128GcmSivExporterContext:
      return "Compliant AES-128-GCM-SIV Exporter Context";
  }
  return "unknown";
}

const char* leap_text(LeapIndicator leap) {
  constexpr std::array<const char*, 4> kTexts = {"none", "insert", "delete", "unsynchronised"};
  return kTexts[static_cast<std::size_t>(leap) & 3];
}

// Type, name and length, runs of the same as one: "5 New Cookie x8 (100)".
std::string records_text(const std::vector<RecordFacts>& records) {
  std::string text;
  for (std::size_t i = 0; i < records.size();) {
    const RecordFacts& r = records[i];
    std::size_t same = 1;
    while (i + same < records.size() && records[i + same].type == r.type &&
           records[i + same].length == r.length)
      ++same;
    text += fmt::format("{}{} {}{} ({})", text.empty() ? "" : ", ", r.type, record_name(r.type),
                        same > 1 ? fmt::format(" x{}", same) : "", r.length);
    i += same;
  }
  return text;
}

std::string tcp_text(const TcpFacts& tcp) {
  return fmt::format("TCP          connected to {} in {}\n", tcp.server.to_string(),
                     duration_text(tcp.connect_time));
}

std::string tls_text(const TlsFacts& tls) {
  const CertificateFacts& c = tls.certificate;
  return fmt::format(
      "TLS          {}, {}\n"
      "certificate  subject  {}\n"
      "             names    {}\n"
      "             issuer   {}\n"
      "             valid    {} to {}, {} days left\n"
      "             verdict  {}\n"
      "ALPN         {}\n",
      tls.version, tls.cipher, c.subject,
      c.names.empty() ? "none" : fmt::format("{}", fmt::join(c.names, ", ")), c.issuer,
      c.not_before, c.not_after, c.days_left,
      c.problem.empty() ? "verified" : "NOT VERIFIED: " + c.problem,
      tls.alpn.empty() ? "none selected" : tls.alpn);
}

std::string ke_text(const KeFacts& ke) {
  std::string text = fmt::format("NTS-KE       records  {}\n", records_text(ke.records));
  if (!ke.response) return text;
  const nts::KeResponse& r = *ke.response;
  text += fmt::format("             AEAD     {} {}", static_cast<unsigned>(r.aead),
                      crypto::parameters(r.aead).name);
  if (r.exporter_aead != static_cast<std::uint16_t>(r.aead))
    text += fmt::format(" (keys exported as for {})", r.exporter_aead);
  text += fmt::format("\n             cookies  {} of {} octets\n", r.cookies.size(),
                      r.cookies.front().size());
  if (r.server) text += fmt::format("             server   {}\n", printable(*r.server));
  if (r.port) text += fmt::format("             port     {}\n", *r.port);
  for (const std::uint16_t code : r.warnings)
    text += fmt::format("             WARNING  {}\n", code);
  return text;
}

std::string time_text(const NtpExchange& exchange, bool plain) {
  const ntp::Header& h = *exchange.header;
  std::string text = fmt::format(
      "stratum {}, leap {}, reference {}, root delay {}, root dispersion {}\n"
      "             offset {}, delay {}, true within +-{}\n",
      h.stratum, leap_text(h.leap), reference_text(h), duration_text(h.root_delay.duration()),
      duration_text(h.root_dispersion.duration()), duration_text(exchange.offset, true),
      duration_text(exchange.delay), duration_text(exchange.max_error()));
  if (plain) return text + "             answered, not authenticated\n";
  return text + fmt::format("             authentic, {} back ({} octets out, {} in)\n",
                            exchange.cookies_back == 1
                                ? "1 cookie"
                                : fmt::format("{} cookies", exchange.cookies_back),
                            exchange.request_length, exchange.reply_length);
}

std::string exchange_text(const QueryReport& report) {
  const NtpExchange& exchange = report.exchanges.back();
  std::string text = fmt::format("{:<13}", fmt::format("NTP {}", report.exchanges.size()));
  text += exchange.authentic ? time_text(exchange, report.plain) : exchange.failure->cause + "\n";
  if (exchange.authentic && !exchange.kernel_timestamp)
    text += "             (no kernel timestamp: the delay includes this program's)\n";
  if (exchange.ignored > 0)
    text += fmt::format("             ignored {} datagrams that do not belong to the request\n",
                        exchange.ignored);
  return text;
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value failure_json(const std::optional<QueryFailure>& failure) {
  if (!failure) return nullptr;
  return {{"class", name_of(failure->status)}, {"cause", failure->cause}, {"cure", failure->cure}};
}

json::object tls_json(const TlsFacts& tls) {
  const CertificateFacts& c = tls.certificate;
  return {{"version", tls.version},
          {"cipher", tls.cipher},
          {"alpn", text_or_null(tls.alpn)},
          {"certificate",
           {{"subject", c.subject},
            {"issuer", c.issuer},
            {"names", json::value_from(c.names)},
            {"not_before", c.not_before},
            {"not_after", c.not_after},
            {"days_left", c.days_left},
            {"verified", c.problem.empty()},
            {"problem", text_or_null(c.problem)}}}};
}

json::object ke_json(const KeFacts& ke) {
  json::array records;
  for (const RecordFacts& r : ke.records) {
    records.push_back({{"critical", r.critical},
                       {"type", r.type},
                       {"name", record_name(r.type)},
                       {"length", r.length}});
  }
  json::object object{{"records", std::move(records)}};
  if (!ke.response) return object;
  const nts::KeResponse& r = *ke.response;
  object["aead"] = static_cast<unsigned>(r.aead);
  object["aead_name"] = std::string(crypto::parameters(r.aead).name);
  object["exporter_aead"] = r.exporter_aead;
  object["cookies"] = r.cookies.size();
  object["cookie_length"] = r.cookies.front().size();
  object["server"] = r.server ? json::value(printable(*r.server)) : json::value(nullptr);
  object["port"] = r.port ? json::value(*r.port) : json::value(nullptr);
  object["warnings"] = json::value_from(r.warnings);
  return object;
}

json::object exchange_json(const NtpExchange& e, bool plain) {
  json::object object{{"request_length", e.request_length},
                      {"reply_length", e.reply_length},
                      {"authentic", e.authentic && !plain},
                      {"ignored", e.ignored},
                      {"failure", failure_json(e.failure)}};
  if (!e.header) return object;
  const ntp::Header& h = *e.header;
  object["version"] = h.version;
  object["stratum"] = h.stratum;
  object["leap"] = leap_text(h.leap);
  object["poll"] = h.poll;
  object["precision"] = h.precision;
  object["reference_id"] = reference_text(h);
  object["root_delay_ns"] = h.root_delay.duration().count();
  object["root_dispersion_ns"] = h.root_dispersion.duration().count();
  if (!e.authentic) return object;
  object["offset_ns"] = e.offset.count();
  object["delay_ns"] = e.delay.count();
  object["max_error_ns"] = e.max_error().count();
  object["cookies_back"] = e.cookies_back;
  object["kernel_timestamp"] = e.kernel_timestamp;
  return object;
}

}  // namespace

std::string step_text(const QueryReport& report, QueryStep step) {
  switch (step) {
    case QueryStep::kTcp:
      return tcp_text(*report.tcp);
    case QueryStep::kTls:
      return tls_text(*report.tls);
    case QueryStep::kKe:
      return ke_text(*report.ke);
    case QueryStep::kNtpServer:
      return fmt::format("NTP server   {}\n", report.ntp_server->to_string());
    case QueryStep::kExchange:
      return exchange_text(report);
  }
  return {};
}

std::string conclusion_text(const QueryReport& report) {
  if (report.failure)
    return fmt::format("FAILED ({}): {}; {}\n", name_of(report.status()), report.failure->cause,
                       report.failure->cure);
  if (report.plain) return "OK: the server answers plain NTP (not authenticated)\n";
  if (!report.tls->certificate.problem.empty())
    return "OK, but only because of --insecure: anybody could have sent this\n";
  return "OK: the reply is authentic\n";
}

std::string report_json(const QueryReport& report) {
  json::object object{
      {"host", report.host},
      {"mode", report.plain ? "plain" : "nts"},
      {"exit_status", static_cast<int>(report.status())},
      {"result", report.plain && !report.failure ? "answered" : name_of(report.status())},
      {"failure", failure_json(report.failure)}};
  if (report.tcp) {
    object["tcp"] = {{"address", report.tcp->server.to_string()},
                     {"connect_ns", report.tcp->connect_time.count()}};
  }
  if (report.tls) object["tls"] = tls_json(*report.tls);
  if (report.ke) object["nts_ke"] = ke_json(*report.ke);
  if (report.ntp_server) {
    json::array exchanges;
    for (const NtpExchange& e : report.exchanges)
      exchanges.push_back(exchange_json(e, report.plain));
    object["ntp"] = {{"address", report.ntp_server->to_string()},
                     {"exchanges", std::move(exchanges)}};
  }
  return json::serialize(object);
}

std::string reference_text(const ntp::Header& header) {
  std::array<std::uint8_t, 4> octets{};
  store_be32(octets.data(), header.reference_id);
  if (header.stratum > 1)
    return fmt::format("{}.{}.{}.{}", octets[0], octets[1], octets[2], octets[3]);
  const std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
  return printable(text.substr(0, text.find('\0')));
}

}  // namespace timeball::server
