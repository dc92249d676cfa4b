#include "server/query.h"

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include <boost/json.hpp>
#include <set>

#include "common/base/printable.h"
#include "common/time/duration_text.h"
#include "server/query_certificate.h"
#include "server/query_ntp.h"
#include "server/query_report.h"
#include "server/query_socket.h"

namespace timeball::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

bool contains(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

NtpExchange good_exchange() {
  NtpExchange e;
  e.request_length = 228;
  e.reply_length = 228;
  e.header.emplace();
  e.header->leap = LeapIndicator::kNone;
  e.header->stratum = 1;
  e.header->reference_id = ntp::ascii_code("PPS\0");
  e.header->root_delay = NtpShort::round_up(milliseconds(2));
  e.header->root_dispersion = NtpShort::round_up(milliseconds(3));
  e.authentic = true;
  e.kernel_timestamp = true;
  e.offset = Duration(-1500);
  e.delay = milliseconds(8);
  e.cookies_back = 1;
  return e;
}

QueryReport good_report() {
  QueryReport report;
  report.host = "ntp.example";
  const net::Endpoint server = *net::Endpoint::parse("192.0.2.1:4460");
  report.tcp = TcpFacts{server, milliseconds(12)};
  report.tls.emplace();
  report.tls->version = "TLSv1.3";
  report.tls->alpn = "ntske/1";
  report.tls->certificate.names = {"ntp.example", "192.0.2.1"};
  report.ke.emplace();
  report.ke->records = {
      {true, 1, 2}, {false, 5, 100}, {false, 5, 100}, {false, 4000, 7}, {true, 0, 0}};
  report.ke->response.emplace();
  report.ke->response->aead = crypto::AeadId::kAes128GcmSiv;
  report.ke->response->exporter_aead = 15;
  report.ke->response->cookies = {std::vector<std::uint8_t>(100), std::vector<std::uint8_t>(100)};
  report.ke->response->server = "a\x1b.example";
  report.ke->response->port = 10123;
  report.ntp_server = *net::Endpoint::parse("192.0.2.1:10123");
  report.exchanges = {good_exchange()};
  return report;
}

TEST(NtpExchange, true_time_is_within_half_the_delays_plus_dispersion) {
  const NtpExchange e = good_exchange();
  EXPECT_NEAR(static_cast<double>(e.max_error().count()), 4e6 + 1e6 + 3e6, 40e3);
  EXPECT_GE(e.max_error(), milliseconds(8));
}

TEST(Printable, escapes_everything_but_printable_ascii) {
  EXPECT_EQ(printable("time.example ~"), "time.example ~");
  EXPECT_EQ(printable(std::string_view("\x1b[2J\n\0\xc3\xa9\x7f", 9)),
            "\\x1b[2J\\x0a\\x00\\xc3\\xa9\\x7f");
}

TEST(DurationText, takes_the_unit_that_suits) {
  EXPECT_EQ(duration_text(Duration(0)), "0 ns");
  EXPECT_EQ(duration_text(Duration(999)), "999 ns");
  EXPECT_EQ(duration_text(Duration(1234)), "1.234 us");
  EXPECT_EQ(duration_text(-Duration(12'345'678), true), "-12.346 ms");
  EXPECT_EQ(duration_text(seconds(3600), true), "+3600.000 s");
}

TEST(ReferenceText, is_letters_for_stratum_1_and_an_address_above) {
  ntp::Header h;
  h.stratum = 1;
  h.reference_id = ntp::ascii_code("GPS\0");
  EXPECT_EQ(reference_text(h), "GPS");
  h.reference_id = 0x1b5b324a;
  EXPECT_EQ(reference_text(h), "\\x1b[2J");
  h.stratum = 2;
  h.reference_id = 0xc0000201;
  EXPECT_EQ(reference_text(h), "192.0.2.1");
}

TEST(QueryStatus, every_one_has_a_name_and_help_of_its_own) {
  std::set<std::string> names;
  std::set<std::string> helps;
  for (int i = 0; i < kQueryStatuses; ++i) {
    names.insert(name_of(static_cast<QueryStatus>(i)));
    helps.insert(help_of(static_cast<QueryStatus>(i)));
  }
  EXPECT_EQ(names.size(), std::size_t{kQueryStatuses});
  EXPECT_EQ(helps.size(), std::size_t{kQueryStatuses});
}

TEST(StepText, ke_gathers_equal_records_and_shows_the_exporter) {
  const std::string text = step_text(good_report(), QueryStep::kKe);
  EXPECT_TRUE(contains(
      text, "1 Next Protocol (2), 5 New Cookie x2 (100), 4000 unknown (7), 0 End of Message (0)"))
      << text;
  EXPECT_TRUE(contains(text, "30 AEAD_AES_128_GCM_SIV (keys exported as for 15)")) << text;
  EXPECT_TRUE(contains(text, "2 of 100 octets")) << text;
  EXPECT_TRUE(contains(text, "a\\x1b.example")) << text;
  EXPECT_TRUE(contains(text, "port     10123")) << text;
}

TEST(StepText, ke_that_failed_shows_its_records_only) {
  QueryReport report = good_report();
  report.ke->response.reset();
  EXPECT_EQ(step_text(report, QueryStep::kKe).find("AEAD"), std::string::npos);
}

TEST(StepText, exchange_says_what_counts) {
  const std::string text = step_text(good_report(), QueryStep::kExchange);
  for (const char* words : {"NTP 1", "stratum 1, leap none, reference PPS", "offset -1.500 us",
                            "delay 8.000 ms", "authentic, 1 cookie back (228 octets out, 228 in)"})
    EXPECT_TRUE(contains(text, words)) << words << "\n" << text;
  EXPECT_FALSE(contains(text, "kernel timestamp")) << text;
}

TEST(StepText, failed_exchange_says_its_cause) {
  QueryReport report = good_report();
  NtpExchange lost;
  lost.failure = QueryFailure{QueryStatus::kNoReply, "no reply", "wait"};
  lost.ignored = 2;
  report.exchanges.push_back(lost);
  const std::string text = step_text(report, QueryStep::kExchange);
  EXPECT_TRUE(contains(text, "NTP 2        no reply\n")) << text;
  EXPECT_TRUE(contains(text, "ignored 2 datagrams")) << text;
}

TEST(Conclusion, is_authentic_only_when_the_certificate_is) {
  QueryReport report = good_report();
  EXPECT_EQ(conclusion_text(report), "OK: the reply is authentic\n");
  report.tls->certificate.problem = "self-signed";
  EXPECT_TRUE(contains(conclusion_text(report), "--insecure"));
  report.failure = QueryFailure{QueryStatus::kRefused, "cause", "cure"};
  EXPECT_EQ(conclusion_text(report), "FAILED (refused): cause; cure\n");
}

TEST(ReportJson, holds_every_fact) {
  const boost::json::value v = boost::json::parse(report_json(good_report()));
  EXPECT_EQ(v.at("exit_status").as_int64(), 0);
  EXPECT_EQ(v.at("result").as_string(), "authentic");
  EXPECT_EQ(v.at("tcp").at("connect_ns").as_int64(), 12'000'000);
  EXPECT_EQ(v.at("tls").at("certificate").at("names").as_array().size(), 2U);
  EXPECT_TRUE(v.at("tls").at("certificate").at("verified").as_bool());
  EXPECT_EQ(v.at("nts_ke").at("records").as_array().size(), 5U);
  EXPECT_EQ(v.at("nts_ke").at("server").as_string(), "a\\x1b.example");
  const boost::json::value& e = v.at("ntp").at("exchanges").at(0);
  EXPECT_EQ(e.at("offset_ns").as_int64(), -1500);
  EXPECT_EQ(e.at("reference_id").as_string(), "PPS");
  EXPECT_TRUE(e.at("failure").is_null());
}

TEST(ReportJson, of_an_early_failure_has_only_what_is_known) {
  QueryReport report;
  report.host = "x";
  report.failure = QueryFailure{QueryStatus::kUnreachable, "cause", "cure"};
  const boost::json::object o = boost::json::parse(report_json(report)).as_object();
  EXPECT_EQ(o.at("failure").at("class").as_string(), "unreachable");
  for (const char* absent : {"tcp", "tls", "nts_ke", "ntp"})
    EXPECT_FALSE(o.contains(absent)) << absent;
}

TEST(ReportJson, plain_is_never_called_authentic) {
  QueryReport report = good_report();
  report.plain = true;
  const boost::json::value v = boost::json::parse(report_json(report));
  EXPECT_EQ(v.at("result").as_string(), "answered");
  EXPECT_FALSE(v.at("ntp").at("exchanges").at(0).at("authentic").as_bool());
}

TEST(CertificateProblem, each_class_has_its_words_and_all_are_tls) {
  CertificateFacts certificate;
  certificate.issuer = "CN=Lab";
  certificate.names = {"a.example", "b.example"};
  QueryOptions options;
  options.host = "c.example";
  const auto cause = [&](long code) {
    const QueryFailure f = explain_certificate_problem(code, certificate, options);
    EXPECT_EQ(f.status, QueryStatus::kTls);
    EXPECT_FALSE(f.cure.empty());
    return f.cause;
  };
  EXPECT_EQ(cause(X509_V_ERR_HOSTNAME_MISMATCH),
            "name mismatch: the certificate is for a.example, b.example, not for c.example");
  EXPECT_TRUE(contains(cause(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT), "self-signed"));
  EXPECT_TRUE(
      contains(cause(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY), "CN=Lab) is not known"));
  EXPECT_TRUE(contains(cause(X509_V_ERR_CERT_HAS_EXPIRED), "expired"));
  EXPECT_TRUE(contains(cause(X509_V_ERR_CERT_NOT_YET_VALID), "not yet valid"));
  EXPECT_TRUE(contains(cause(X509_V_ERR_INVALID_PURPOSE), "does not verify"));
}

TEST(ConnectError, names_the_cause) {
  const net::Endpoint server = *net::Endpoint::parse("192.0.2.1:4460");
  EXPECT_TRUE(
      contains(explain_connect_error(ECONNREFUSED, server).cause, "refused by 192.0.2.1:4460"));
  EXPECT_TRUE(contains(explain_connect_error(ETIMEDOUT, server).cure, "firewall"));
  EXPECT_TRUE(contains(explain_connect_error(ENETUNREACH, server).cause, "no route"));
  EXPECT_EQ(explain_connect_error(EIO, server).status, QueryStatus::kUnreachable);
}

TEST(NoReply, tells_a_filter_on_long_packets_from_silence) {
  const net::Endpoint server = *net::Endpoint::parse("192.0.2.1:123");
  EXPECT_TRUE(contains(explain_no_reply(server, 228, false, true).cure,
                       "filter on long packets to UDP port 123"));
  EXPECT_TRUE(contains(explain_no_reply(server, 228, false, true).cause, "228 octets"));
  EXPECT_FALSE(contains(explain_no_reply(server, 228, false, false).cure, "filter on long"));
  EXPECT_FALSE(contains(explain_no_reply(server, 48, true, false).cure, "filter on long"));
}

TEST(Resolve, takes_addresses_of_both_families) {
  const auto v4 = resolve("127.0.0.1", 123, AF_UNSPEC, SOCK_DGRAM);
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->front().to_string(), "127.0.0.1:123");
  const auto v6 = resolve("::1", 4460, AF_UNSPEC, SOCK_STREAM);
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->front().to_string(), "[::1]:4460");
  const auto wrong_family = resolve("::1", 4460, AF_INET, SOCK_STREAM);
  ASSERT_FALSE(wrong_family);
  EXPECT_EQ(wrong_family.error().status, QueryStatus::kUnreachable);
}

}  // namespace
}  // namespace timeball::server
