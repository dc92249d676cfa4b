#include "server/settings.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/base/openssl_handle.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

Lines lines(const std::vector<ConfigError>& errors) {
  Lines out;
  for (const ConfigError& error : errors) out.push_back(error.to_string());
  return out;
}

Config parsed(std::string_view toml) {
  const LoadedConfig loaded = parse_config(toml, "t.toml");
  EXPECT_EQ(lines(loaded.errors), Lines{});
  return loaded.config;
}

// ---- What is refused, in which words.

struct Bad {
  const char* name;
  const char* toml;
  Lines errors;
};

void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.name;
}

std::string name_of(const testing::TestParamInfo<Bad>& bad) {
  return bad.param.name;
}

class BadConfig : public testing::TestWithParam<Bad> {};

TEST_P(BadConfig, IsRefusedWithTheLineAndWhatToDo) {
  EXPECT_EQ(lines(parse_config(GetParam().toml, "t.toml").errors), GetParam().errors);
}

const Bad kSyntax[] = {
    {"UnfinishedHeader",
     "[ntp",
     {"t.toml:1: this is not TOML: Error while parsing table header: encountered end-of-file; "
      "write "
      "key = value, with text in quotes and lists in square brackets"}},
    {"MissingValue",
     "[ntp]\nshards = \n",
     {"t.toml:2: this is not TOML: Error while parsing key-value pair: expected value, saw '\\n'; "
      "write key = value, with text in quotes and lists in square brackets"}},
    {"KeyTwice",
     "[ntp]\nshards = 1\nshards = 2\n",
     {"t.toml:3: this is not TOML: Error while parsing key-value pair: cannot redefine existing "
      "integer 'shards'; each key and each section stands once: remove or merge the second"}},
    {"SectionTwice",
     "[ntp]\nshards = 0\n[ntp]\nio = \"auto\"\n",
     {"t.toml:3: this is not TOML: Error while parsing table header: cannot redefine existing "
      "table "
      "'ntp'; each key and each section stands once: remove or merge the second"}},
};
INSTANTIATE_TEST_SUITE_P(Syntax, BadConfig, testing::ValuesIn(kSyntax), name_of);

const Bad kNames[] = {
    {"MisspelledKey",
     "[ntp]\nshard = 4\n",
     {"t.toml:2: unknown key \"shard\" in [ntp]; did you mean \"shards\"?"}},
    {"SwappedLetters",
     "[nts_ke]\ncertifciate = \"x\"\n",
     {"t.toml:2: unknown key \"certifciate\" in [nts_ke]; did you mean \"certificate\"?"}},
    {"KeyOfAnotherSection",
     "[ntp]\nrotation = \"24h\"\n",
     {"t.toml:2: unknown key \"rotation\" in [ntp]; it belongs in [keys]"}},
    {"InventedKey",
     "[keys]\nfrequency = 3\n",
     {"t.toml:2: unknown key \"frequency\" in [keys]; it takes provider, file, "
      "rotation, keep"}},
    {"MisspelledSection",
     "\n[nts-ke]\n",
     {"t.toml:2: unknown section \"nts-ke\"; did you mean [nts_ke]?"}},
    {"InventedSection",
     "[metrics]\nport = 3\n",
     {"t.toml:1: unknown section \"metrics\"; there are ntp, nts_ke, crypto, keys, etcd, "
      "access, rate_limit, refclock, clock, process, admin, log"}},
    {"KeyOutsideEverySection",
     "shards = 4\n",
     {"t.toml:1: the key \"shards\" stands outside every section; put it below a line such as "
      "[ntp]"}},
    {"SectionAsKey",
     "ntp = 3\n",
     {"t.toml:1: found the number 3; head the section with [ntp], once, in single brackets"}},
    {"SectionInDoubleBrackets",
     "[[ntp]]\n",
     {"t.toml:1: found a list; head the section with [ntp], once, in single brackets"}},
    {"RefclockInSingleBrackets",
     "[refclock]\ndriver = \"system\"\n",
     {"t.toml:1: there may be several reference clocks; head each with [[refclock]], in double "
      "brackets"}},
    {"RefclockList",
     "refclock = [\n 3]\n",
     {"t.toml:2: found the number 3 among the reference clocks; head each with [[refclock]], in "
      "double brackets"}},
};
INSTANTIATE_TEST_SUITE_P(Names, BadConfig, testing::ValuesIn(kNames), name_of);

const Bad kValues[] = {
    {"TextForNumber",
     "[ntp]\nshards = \"four\"\n",
     {"t.toml:2: ntp.shards: found the text \"four\"; write a whole number from 0 to 1024, without "
      "quotes"}},
    {"FractionForNumber",
     "[ntp]\nshards = 1.5\n",
     {"t.toml:2: ntp.shards: found a number with a fraction; write a whole number from 0 to 1024, "
      "without quotes"}},
    {"NumberTooLarge",
     "[ntp]\nshards = 5000\n",
     {"t.toml:2: ntp.shards: found the number 5000; write a whole number from 0 to 1024"}},
    {"NegativeNumber",
     "[keys]\nkeep = -1\n",
     {"t.toml:2: keys.keep: found the number -1; write a whole number from 1 to 1000"}},
    {"PortTooLarge",
     "[nts_ke]\nport = 65536\n",
     {"t.toml:2: nts_ke.port: found the number 65536; write a whole number from 0 to 65535"}},
    {"TextForBoolean",
     "[[refclock]]\ntrust = \"yes\"\n",
     {"t.toml:2: refclock.trust: found the text \"yes\"; write true or false, without quotes"}},
    {"NumberForDuration",
     "[nts_ke]\ndeadline = 5\n",
     {"t.toml:2: nts_ke.deadline: found the number 5; write a whole number with its unit (d, h, m, "
      "s, ms, us, ns), in quotes, from \"100ms\" to \"1m\""}},
    {"DurationInWords",
     "[nts_ke]\ndeadline = \"5 seconds\"\n",
     {"t.toml:2: nts_ke.deadline: found the text \"5 seconds\"; write a whole number with its unit "
      "(d, h, m, s, ms, us, ns), in quotes, from \"100ms\" to \"1m\""}},
    {"DurationOutOfRange",
     "[rate_limit]\ninterval = \"0s\"\n",
     {"t.toml:2: rate_limit.interval: found the text \"0s\"; write a whole number with its unit "
      "(d, "
      "h, m, s, ms, us, ns), in quotes, from \"1us\" to \"1h\""}},
    {"DurationThatOverflows",
     "[keys]\nrotation = \"9999999999d\"\n",
     {"t.toml:2: keys.rotation: found the text \"9999999999d\"; write a whole number with its unit "
      "(d, h, m, s, ms, us, ns), in quotes, from \"1s\" to \"365d\""}},
    {"UnknownAction",
     "[rate_limit]\naction = \"KISS\"\n",
     {"t.toml:2: rate_limit.action: found the text \"KISS\"; write one of \"drop\", \"kiss\""}},
    {"UnknownIo",
     "[ntp]\nio = \"epoll\"\n",
     {"t.toml:2: ntp.io: found the text \"epoll\"; write one of \"auto\", \"io_uring\", "
      "\"mmsg\", \"xdp\""}},
    {"DateForChoice",
     "[log]\nformat = 1979-05-27\n",
     {"t.toml:2: log.format: found a date or time; write one of \"text\", \"json\""}},
    {"UnknownLevel",
     "[log]\nlevel = \"warn\"\n",
     {"t.toml:2: log.level: found the text \"warn\"; write one of \"trace\", \"debug\", \"info\", "
      "\"warning\", \"error\", \"critical\", \"off\""}},
    {"UnknownDriver",
     "[[refclock]]\ndriver = \"ntp\"\ndevice = \"/dev/ttyS0\"\n",
     {"t.toml:2: refclock.driver: found the text \"ntp\"; write one of \"system\", \"gnss\", "
      "\"gpsd\", \"pps\", \"phc\", \"rubidium\", \"shm\", \"sock\""}},
    {"StratumSixteen",
     "[[refclock]]\nstratum = 16\n",
     {"t.toml:2: refclock.stratum: found the number 16; write a whole number from 1 to 15"}},
    {"StratumZero",
     "[[refclock]]\nstratum = 0\n",
     {"t.toml:2: refclock.stratum: found the number 0; write a whole number from 1 to 15"}},
    {"ControlCharacterInFileName",
     "[keys]\nfile = \"a\\u0001b\"\n",
     {"t.toml:2: keys.file: found the text \"a\\u0001b\"; write a file name in quotes, without "
      "control characters"}},
};
INSTANTIATE_TEST_SUITE_P(Values, BadConfig, testing::ValuesIn(kValues), name_of);

const Bad kAddresses[] = {
    {"EtcdEndpoints",
     "[etcd]\nendpoints = [\n\"etcd1\",\n\"etcd1:0x1\",\n\"a b:2379\",\n\"etcd1:2379\",\n"
     "\"[2001:db8::1]:2379\"]\ncluster = \"A/b\"\n",
     {"t.toml:3: etcd.endpoints: found the text \"etcd1\"; write a name or address and a port in "
      "quotes, such as \"etcd1.example.net:2379\"",
      "t.toml:4: etcd.endpoints: found the text \"etcd1:0x1\"; write a name or address and a port "
      "in "
      "quotes, such as \"etcd1.example.net:2379\"",
      "t.toml:5: etcd.endpoints: found the text \"a b:2379\"; write a name or address and a port "
      "in "
      "quotes, such as \"etcd1.example.net:2379\"",
      "t.toml:8: etcd.cluster: found the text \"A/b\"; write a name in quotes, 1 to 64 of a-z, "
      "0-9, "
      "- and ."}},
    {"AddressOutsideList",
     "[ntp]\nlisten = \"0.0.0.0:123\"\n",
     {"t.toml:2: ntp.listen: found the text \"0.0.0.0:123\"; write a list, in square brackets"}},
    {"EachElementOnItsOwnLine",
     "[ntp]\nlisten = [\n  \"0.0.0.0\",\n  \"localhost:123\",\n  \"::1:123\",\n  123,\n]\n",
     {"t.toml:3: ntp.listen: \"0.0.0.0\" is not an address with a port: the port is missing; write "
      "192.0.2.1:123 or [2001:db8::1]:123",
      "t.toml:4: ntp.listen: \"localhost:123\" is not an address with a port: \"localhost\" is not "
      "an IP address; write 192.0.2.1:123 or [2001:db8::1]:123",
      "t.toml:5: ntp.listen: \"::1:123\" is not an address with a port: IPv6 addresses stand in "
      "brackets; write 192.0.2.1:123 or [2001:db8::1]:123",
      "t.toml:6: ntp.listen: found the number 123; write an address in quotes, such as "
      "\"192.0.2.1:123\" or \"[2001:db8::1]:123\""}},
    {"PortZero",
     "[admin]\nlisten = \"[::1]:0\"\n",
     {"t.toml:2: admin.listen: \"[::1]:0\" is not an address with a port: the port must be from 1 "
      "to 65535; write 192.0.2.1:123 or [2001:db8::1]:123"}},
    {"HostBitsSet",
     "[access]\ndeny = [\"10.0.0.1/8\"]\n",
     {"t.toml:2: access.deny: \"10.0.0.1/8\" has bits set beyond its prefix length; write "
      "10.0.0.0/8 for the network, or 10.0.0.1 for the one address"}},
    {"PrefixTooLong",
     "[access]\nallow = [\"10.0.0.0/33\"]\n",
     {"t.toml:2: access.allow: \"10.0.0.0/33\": the prefix length must be a number from 0 to "
      "32"}},
    {"ServerWithPort",
     "[nts_ke]\nserver = \"ntp1.example.net:123\"\n",
     {"t.toml:2: nts_ke.server: found the text \"ntp1.example.net:123\"; write a DNS name in ASCII "
      "(ntp1.example.net) or an IP address without a port, and behind it, where it is not 1, a "
      "weight up to 1000"}},
    {"ServerNearlyAnAddress",
     "[nts_ke]\nserver = \"192.0.2.300\"\n",
     {"t.toml:2: nts_ke.server: found the text \"192.0.2.300\"; write a DNS name in ASCII "
      "(ntp1.example.net) or an IP address without a port, and behind it, where it is not 1, a "
      "weight up to 1000"}},
    {"ServerNotInAscii",
     "[nts_ke]\nserver = \"zeit.österreich.example\"\n",
     {"t.toml:2: nts_ke.server: found the text \"zeit.österreich.example\"; write a DNS name in "
      "ASCII (ntp1.example.net) or an IP address without a port, and behind it, where it is not 1, "
      "a weight up to 1000"}},
    {"ServerTwice",
     "[nts_ke]\nserver = [\"a.example 2\", \"b.example\", \"a.example\"]\n",
     {"t.toml:2: nts_ke.server: a.example stands twice; write it once, with a weight"}},
};
INSTANTIATE_TEST_SUITE_P(Addresses, BadConfig, testing::ValuesIn(kAddresses), name_of);

const Bad kCombinations[] = {
    {"EtcdWithoutEverything",
     "[keys]\nprovider = \"etcd\"\nrotation = \"4s\"\n",
     {"t.toml:2: keys.provider: \"etcd\" needs to know where; write etcd.endpoints",
      "t.toml:2: keys.provider: \"etcd\" needs the cluster's key: openssl rand -hex 32 >FILE, the "
      "same on all members, and name it in etcd.key_file",
      "t.toml:3: keys.rotation: is too short for a cluster; write \"5s\" or more"}},
    {"EtcdByHalves",
     "[keys]\nprovider = \"etcd\"\n[etcd]\nendpoints = [\"127.0.0.1:2379\"]\nkey_file = \"k\"\n"
     "certificate = \"c\"\nuser = \"u\"\n",
     {"t.toml:6: etcd.certificate: goes with etcd.private_key; name both, or neither",
      "t.toml:6: etcd.certificate: is of no use without TLS; name etcd.ca, too",
      "t.toml:7: etcd.user: goes with etcd.password_file; name both, or neither"}},
    {"NothingToServe",
     "[ntp]\nlisten = []\n[nts_ke]\nenabled = false\n",
     {"t.toml:2: ntp.listen: no address, and nts_ke.enabled is false: nothing is served; write at "
      "least one address, such as \"0.0.0.0:123\""}},
    {"NtsKeAloneWithKeysThatNobodyElseHas",
     "[ntp]\nlisten = []\n[nts_ke]\nserver = \"a.example\"\n[keys]\nfile = \"\"\n",
     {"t.toml:6: keys.file: empty, and NTP is served elsewhere: nobody could open the cookies "
      "given here; name the file that the NTP server reads"}},
    {"ListenerTwice",
     "[ntp]\nlisten = [\"0.0.0.0:123\", \"[::]:123\", \"0.0.0.0:123\"]\n",
     {"t.toml:2: ntp.listen: 0.0.0.0:123 stands twice; remove one"}},
    {"NoNtsKeListener",
     "[nts_ke]\nlisten = []\n",
     {"t.toml:2: nts_ke.listen: no address; write at least one, such as \"0.0.0.0:4460\", or set "
      "nts_ke.enabled to false"}},
    {"WildcardAndOneAddress",
     "[nts_ke]\nlisten = [\"127.0.0.1:4460\", \"[::]:4460\", \"0.0.0.0:4460\"]\n",
     {"t.toml:2: nts_ke.listen: 127.0.0.1:4460 and 0.0.0.0:4460 take the same port; keep the one "
      "with the wildcard address"}},
    {"AdminOnNtsKePort",
     "[admin]\nlisten = \"127.0.0.1:4460\"\n",
     {"t.toml:2: admin.listen: 127.0.0.1:4460 is taken by nts_ke.listen (0.0.0.0:4460); choose "
      "another port"}},
    {"NoAead",
     "[nts_ke]\naeads = []\n",
     {"t.toml:2: nts_ke.aeads: no algorithm; write at least one, such as [15]"}},
    {"AeadTwice",
     "[nts_ke]\naeads = [15, 30, 15]\n",
     {"t.toml:2: nts_ke.aeads: 15 stands twice; remove one"}},
    {"UnknownAeads",
     "[nts_ke]\naeads = [15, 18, -1, \"16\"]\n",
     {"t.toml:2: nts_ke.aeads: found the number 18; write AEAD algorithms by their IANA numbers: "
      "15, 16, 17, 30",
      "t.toml:2: nts_ke.aeads: found the number -1; write AEAD algorithms by their IANA numbers: "
      "15, 16, 17, 30",
      "t.toml:2: nts_ke.aeads: found the text \"16\"; write AEAD algorithms by their IANA numbers: "
      "15, 16, 17, 30"}},
    {"NoCertificate",
     "[nts_ke]\ncertificate = \"\"\nprivate_key = \"\"\n",
     {"t.toml:2: nts_ke.certificate: no file; name the certificate chain, or set nts_ke.enabled to "
      "false",
      "t.toml:3: nts_ke.private_key: no file; name the certificate's key, or set nts_ke.enabled to "
      "false"}},
    {"OneOfSeveralCertificatesMissing",
     "[nts_ke]\ncertificate = [\"/a\", \"\"]\nprivate_key = [\"/k\", \"/l\"]\n",
     {"t.toml:2: nts_ke.certificate: no file; name the certificate chain, or set nts_ke.enabled to "
      "false"}},
    {"ACertificateTwice",
     "[nts_ke]\ncertificate = [\"/a\", \"/b\", \"/a\"]\nprivate_key = [\"/k\", \"/l\", \"/k\"]\n",
     {"t.toml:2: nts_ke.certificate: \"/a\" stands twice; remove one, and its private key"}},
    {"FewerKeysThanCertificates",
     "[nts_ke]\ncertificate = [\"/a\", \"/b\"]\nprivate_key = \"/k\"\n",
     {"t.toml:3: nts_ke.private_key: there are 2 certificates and 1 private keys; name each "
      "certificate's key, in the same order"}},
    {"CertificateThatIsNoFileName",
     "[nts_ke]\ncertificate = [\"/a\", 5]\nprivate_key = true\n",
     {"t.toml:2: nts_ke.certificate: found the number 5; write a file name in quotes, without "
      "control characters",
      "t.toml:3: nts_ke.private_key: found true; write a file name in quotes, without control "
      "characters"}},
    {"TwoKernelClocks",
     "[[refclock]]\n[[refclock]]\n",
     {"t.toml:2: refclock[1]: driver = \"system\" stands alone; remove it or the others"}},
    {"SteeringTheKernelsClockByItself",
     "[clock]\nmode = \"system\"\n",
     {"t.toml:2: clock.mode: \"system\" steers the clock that driver = \"system\" takes for right; "
      "name other reference clocks, or write \"software\""}},
    {"SettingOfAnotherDriver",
     "[[refclock]]\ntrust = true\nbaud = 9600\n",
     {"t.toml:3: refclock[0].baud: is for driver = \"gnss\" or \"rubidium\"; remove it"}},
    {"ReceiverWithoutPulse",
     "[[refclock]]\ndriver = \"gnss\"\ndevice = \"/dev/ttyS0\"\n",
     {"t.toml:1: refclock[0]: the receiver's pulse must come in at one driver = \"pps\" (or "
      "\"phc\") with pulse = \"gnss\""}},
    {"PulseWithoutReceiver",
     "[[refclock]]\ndriver = \"pps\"\ndevice = \"/dev/pps0\"\n",
     {"t.toml:1: refclock[0]: nothing names the seconds: add a receiver (driver = \"gnss\" or "
      "\"gpsd\"), or what another program tells (\"shm\" or \"sock\")"}},
    {"TwoReceiversAndTwoPulses",
     "[[refclock]]\ndriver = \"gpsd\"\n[[refclock]]\ndriver = \"gnss\"\ndevice = \"/dev/ttyS0\"\n"
     "[[refclock]]\ndriver = \"pps\"\ndevice = \"/dev/ttyS0\"\n[[refclock]]\ndriver = \"phc\"\n"
     "device = \"/dev/ptp0\"\n",
     {"t.toml:9: refclock[3]: one receiver can be used; remove the others",
      "t.toml:9: refclock[3]: a pulse comes in once; remove the other pps or phc of the same "
      "pulse"}},
    {"OneUnitTwice",
     "[[refclock]]\ndriver = \"shm\"\n[[refclock]]\ndriver = \"shm\"\n",
     {"t.toml:3: refclock[1]: unit 0 is used by refclock[0] already"}},
    {"PositionInWords",
     "[[refclock]]\ndriver = \"gnss\"\nposition = \"the roof\"\n",
     {"t.toml:1: refclock[0]: name its device, such as device = \"/dev/ttyS0\"",
      "t.toml:1: refclock[0]: the receiver's pulse must come in at one driver = \"pps\" (or "
      "\"phc\") with pulse = \"gnss\"",
      "t.toml:3: refclock.position: found the text \"the roof\"; write degrees north, degrees east "
      "and metres above the ellipsoid in quotes, such as \"47.39770 8.54560 455.2\""}},
    {"RubidiumWithoutPulse",
     "[[refclock]]\ndriver = \"gpsd\"\n[[refclock]]\ndriver = \"pps\"\ndevice = \"/dev/pps0\"\n"
     "[[refclock]]\ndriver = \"rubidium\"\ndevice = \"/dev/ttyS1\"\n",
     {"t.toml:6: refclock[2]: the oscillator's pulse must come in at one driver = \"pps\" (or "
      "\"phc\") with pulse = \"rubidium\""}},
    {"RubidiumPulseAlone",
     "[[refclock]]\ndriver = \"gpsd\"\n[[refclock]]\ndriver = \"pps\"\ndevice = \"/dev/pps0\"\n"
     "[[refclock]]\ndriver = \"pps\"\ndevice = \"/dev/pps1\"\npulse = \"rubidium\"\n",
     {"t.toml:6: refclock[2]: pulse = \"rubidium\" needs the oscillator too: driver = "
      "\"rubidium\""}},
    {"OscillatorWithoutALoop",
     "[[refclock]]\ndriver = \"gpsd\"\n[[refclock]]\ndriver = \"rubidium\"\ndevice = "
     "\"/dev/ttyS1\"\nmodel = \"mro50\"\nwiring = \"self-disciplined\"\n[[refclock]]\ndriver = "
     "\"pps\"\ndevice = \"/dev/pps1\"\npulse = \"rubidium\"\n",
     {"t.toml:3: refclock[1]: the mro50 has no loop of its own; write wiring = \"paper-clock\""}},
    {"TwoOnOneDeviceAndNone",
     "[[refclock]]\ndriver = \"gnss\"\ndevice = \"/dev/pps0\"\n[[refclock]]\ndriver = "
     "\"pps\"\ndevice = \"/dev/pps0\"\n[[refclock]]\ndriver = \"rubidium\"\n"
     "[[refclock]]\ndriver = \"pps\"\ndevice = \"/dev/pps1\"\npulse = \"rubidium\"\n",
     {"t.toml:4: refclock[1]: /dev/pps0 is used by refclock[0] already",
      "t.toml:7: refclock[2]: name its device, such as device = \"/dev/ttyS0\""}},
    {"WithoutMandatoryAead",
     "[nts_ke]\naeads = [30]\n",
     {"t.toml:2: nts_ke.aeads: 15 is missing, which RFC 8915 makes mandatory; add it"}},
    {"XdpWithoutInterface",
     "[ntp]\nio = \"xdp\"\n",
     {"t.toml:2: ntp.io: \"xdp\" needs xdp_interfaces; name at least one, such as \"eth0\" (ip "
      "link "
      "lists them)"}},
    {"XdpInterfaces",
     "[ntp]\nio = \"xdp\"\nxdp_interfaces = [\"eth0\", \"a-name-far-too-long\", \"eth0\"]\n"
     "xdp_mode = \"fast\"\n",
     {"t.toml:3: ntp.xdp_interfaces: \"a-name-far-too-long\" is longer than the name of any "
      "network "
      "interface (15 characters); see ip link",
      "t.toml:3: ntp.xdp_interfaces: \"eth0\" stands twice; remove one",
      "t.toml:4: ntp.xdp_mode: found the text \"fast\"; write one of \"auto\", \"native\", "
      "\"generic\""}},
    {"AllAtOnceInLineOrder",
     "[log]\nlevel = 7\n[ntp]\nshards = -1\nlisten = [1]\nio = true\n[kyes]\n",
     {"t.toml:2: log.level: found the number 7; write one of \"trace\", \"debug\", \"info\", "
      "\"warning\", \"error\", \"critical\", \"off\"",
      "t.toml:4: ntp.shards: found the number -1; write a whole number from 0 to 1024",
      "t.toml:5: ntp.listen: found the number 1; write an address in quotes, such as "
      "\"192.0.2.1:123\" or \"[2001:db8::1]:123\"",
      "t.toml:6: ntp.io: found true; write one of \"auto\", \"io_uring\", \"mmsg\", \"xdp\"",
      "t.toml:7: unknown section \"kyes\"; did you mean [keys]?"}},
};
INSTANTIATE_TEST_SUITE_P(Combinations, BadConfig, testing::ValuesIn(kCombinations), name_of);

// ---- What is worth a warning.

class DoubtfulConfig : public testing::TestWithParam<Bad> {};

TEST_P(DoubtfulConfig, IsTakenWithAWarning) {
  const LoadedConfig loaded = parse_config(GetParam().toml, "t.toml");
  EXPECT_EQ(lines(loaded.errors), Lines{});
  EXPECT_EQ(lines(loaded.warnings), GetParam().errors);
}

const Bad kDoubtful[] = {
    {"EtcdWithoutTls",
     "[keys]\nprovider = \"etcd\"\n[etcd]\nendpoints = [\"etcd1:2379\", \"127.0.0.1:2379\"]\n"
     "key_file = \"k\"\n",
     {"t.toml:4: etcd.endpoints: etcd1:2379 is reached without TLS: whoever is on the way can make "
      "this server go on with old keys; name etcd.ca"}},
    {"EtcdNotUsed",
     "[etcd]\nendpoints = [\"127.0.0.1:2379\"]\n",
     {"t.toml:2: etcd.endpoints: not used; write keys.provider = \"etcd\", or remove it"}},
    {"NtsKeAloneWithoutAServer",
     "[ntp]\nlisten = []\n[nts_ke]\nlisten = [\"[::]:4460\"]\nserver = \"192.0.2.1\"\n",
     {"t.toml:5: nts_ke.server: names no NTP server for IPv6 clients, and ntp.listen is empty: "
      "they will go to the address they asked; make sure that another process answers there, or "
      "name a "
      "server"}},
    {"NtsKeAloneWithKeysInEtcdAndNoCopy",
     "[ntp]\nlisten = []\n[nts_ke]\nserver = \"a.example\"\n[keys]\nprovider = \"etcd\"\n"
     "file = \"\"\n[etcd]\nendpoints = [\"127.0.0.1:2379\"]\nkey_file = \"k\"\n",
     {"t.toml:7: keys.file: empty: a start while etcd does not answer serves no NTS; name a file "
      "for a sealed local copy"}},
    {"NtsKeAloneForBoth", "[ntp]\nlisten = []\n[nts_ke]\nserver = [\"192.0.2.1\", \"::1\"]\n", {}},
    {"PublicAdmin",
     "[admin]\nlisten = \"[::]:9123\"\n",
     {"t.toml:2: admin.listen: [::]:9123 is not a loopback address: whoever reaches it reads the "
      "metrics, the status and the configuration; set token_file and certificate, filter the port, "
      "or write \"127.0.0.1:9123\""}},
    {"PublicAdminWithAToken", "[admin]\nlisten = \"[::]:9123\"\ntoken_file = \"/t\"\n", {}},
    {"PublicAdminWithTls",
     "[admin]\nlisten = \"[::]:9123\"\ncertificate = \"/c\"\nprivate_key = \"/k\"\n",
     {}},
    {"KeysInMemory",
     "[keys]\nfile = \"\"\n",
     {"t.toml:2: keys.file: empty: all clients must run NTS-KE again after each restart; name a "
      "file to keep the keys"}},
    {"AllowedButDenied",
     "[access]\nallow = [\"10.1.0.0/16\", \"192.0.2.0/24\"]\ndeny = [\"10.0.0.0/8\"]\n",
     {"t.toml:2: access.allow: 10.1.0.0/16 is wholly denied by 10.0.0.0/8, and deny wins; remove "
      "one"}},
    {"OneAddressTakesAll",
     "[nts_ke]\nmax_connections = 10\n",
     {"t.toml: nts_ke.max_connections_per_address: one address may take every connection; write "
      "less than max_connections (10)"}},
    {"NtsRequiredButNotGiven",
     "[ntp]\nrequire_nts = true\n[nts_ke]\nenabled = false\n",
     {"t.toml:2: ntp.require_nts: new clients cannot get keys here while nts_ke.enabled is false; "
      "make sure that another process that shares the key file gives them"}},
};
INSTANTIATE_TEST_SUITE_P(Warnings, DoubtfulConfig, testing::ValuesIn(kDoubtful), name_of);

// ---- What is taken.

TEST(Settings, EmptyFileGivesTheDefaults) {
  const Config c = parsed("");
  ASSERT_EQ(c.ntp.listen.size(), 2u);
  EXPECT_EQ(c.ntp.listen[0].to_string(), "0.0.0.0:123");
  EXPECT_EQ(c.ntp.listen[1].to_string(), "[::]:123");
  EXPECT_EQ(c.ntp.io, net::IoBackend::kAuto);
  EXPECT_TRUE(c.nts_ke.enabled);
  ASSERT_EQ(c.nts_ke.listen.size(), 2u);
  EXPECT_EQ(c.nts_ke.listen[0].port, 4460);
  using crypto::AeadId;
  EXPECT_EQ(c.nts_ke.aeads, (std::vector{AeadId::kAes128GcmSiv, AeadId::kAesSivCmac256,
                                         AeadId::kAesSivCmac512, AeadId::kAesSivCmac384}));
  EXPECT_EQ(c.nts_ke.deadline, 5s);
  EXPECT_EQ(c.nts_ke.max_connections, 4096u);
  EXPECT_EQ(c.nts_ke.max_connections_per_address, 64u);
  EXPECT_EQ(c.nts_ke.ipv4_prefix, 32u);
  EXPECT_EQ(c.nts_ke.ipv6_prefix, 56u);
  EXPECT_EQ(c.nts_ke.rate, 0u);
  EXPECT_EQ(c.nts_ke.rate_per_address, 20u);
  EXPECT_EQ(c.nts_ke.burst_per_address, 1000u);
  EXPECT_EQ(c.nts_ke.busy_after, 250ms);
  EXPECT_EQ(c.keys.rotation, 24h);
  EXPECT_EQ(c.keys.keep, 7u);
  EXPECT_TRUE(c.access.allow.empty());
  EXPECT_FALSE(c.rate_limit.enabled);
  EXPECT_EQ(c.rate_limit.interval, 1s);
  EXPECT_EQ(c.rate_limit.burst, 8u);
  EXPECT_EQ(c.rate_limit.table_size, 65536u);
  ASSERT_EQ(c.refclocks.size(), 1u);
  EXPECT_EQ(c.refclocks[0].driver, RefclockDriver::kSystem);
  EXPECT_FALSE(c.refclocks[0].trust);
  EXPECT_EQ(c.refclocks[0].stratum, 10u);
  ASSERT_EQ(c.admin.listen.size(), 1u);
  EXPECT_EQ(c.admin.listen[0].to_string(), "127.0.0.1:9123");
  EXPECT_EQ(c.log.level, "info");
}

// Every setting away from its default.
constexpr std::string_view kEverything = R"(
[ntp]
listen = ["192.0.2.1:1123"]
shards = 3
io = "mmsg"
steering = "cpu"
symmetric_active = true
require_nts = true
[nts_ke]
enabled = false
listen = ["[2001:db8::1]:4461"]
certificate = "/c \"quoted\" \\ zeit-ö.pem"
private_key = "/k.pem"
threads = 2
aeads = [16, 15]
gcm_siv_without_record_1024 = true
server = "ntp1.example.net"
port = 1123
deadline = "250ms"
max_connections = 100
max_connections_per_address = 5
ipv4_prefix = 24
ipv6_prefix = 64
rate = 300
burst = 400
rate_per_address = 3
burst_per_address = 4
busy_after = "0s"
[keys]
file = ""
rotation = "7d"
keep = 9
[access]
allow = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]
deny = ["0.0.0.0/0"]
[rate_limit]
enabled = true
interval = "1500us"
burst = 9
action = "kiss"
let_through = 0
ipv4_prefix = 24
ipv6_prefix = 48
table_size = 1000
refusals_per_second = 10
[[refclock]]
driver = "system"
trust = true
stratum = 1
[admin]
listen = ""
[log]
level = "debug"
format = "json"
)";

constexpr std::string_view kRack = R"(
[[refclock]]
driver = "gnss"
device = "/dev/ttyS0"
baud = 115200
position = "47.3977 -8.5456 455.25"
cable_delay = "57ns"
settling = "1s"
configure = false
[[refclock]]
driver = "pps"
device = "/dev/pps0"
latency = "5us"
edge = "clear"
[[refclock]]
driver = "rubidium"
device = "/dev/ttyS1"
model = "sa5x"
wiring = "self-disciplined"
[[refclock]]
driver = "phc"
device = "/dev/ptp1"
pulse = "rubidium"
channel = 1
pin = 0
[[refclock]]
driver = "shm"
unit = 2
error_bound = "1ms"
[[refclock]]
driver = "sock"
device = "/run/timeball/ntp.sock"
[clock]
mode = "system"
locked_bound = "1us"
holdover_limit = "50us"
reference_id = "GAL"
leap_file = ""
)";

constexpr std::string_view kGpsd = R"(
[[refclock]]
driver = "gpsd"
gpsd = "[::1]:2948"
[[refclock]]
driver = "pps"
device = "/dev/pps0"
)";

TEST(Settings, ARackIsRead) {
  const Config c = parsed(kRack);
  ASSERT_EQ(c.refclocks.size(), 6U);
  EXPECT_EQ(c.refclocks[0].driver, RefclockDriver::kGnss);
  EXPECT_EQ(c.refclocks[0].device, "/dev/ttyS0");
  EXPECT_EQ(c.refclocks[0].baud, 115200U);
  EXPECT_EQ(c.refclocks[1].driver, RefclockDriver::kPps);
  EXPECT_EQ(c.refclocks[1].latency, 5us);
  EXPECT_EQ(c.refclocks[1].pulse, "gnss");
  EXPECT_EQ(c.refclocks[2].model, "sa5x");
  EXPECT_TRUE(c.refclocks[2].self_disciplined);
  EXPECT_EQ(c.refclocks[3].pulse, "rubidium");
  EXPECT_EQ(c.refclocks[0].position, (Position{47.3977, -8.5456, 455.25}));
  EXPECT_EQ(c.refclocks[0].cable_delay, 57ns);
  EXPECT_EQ(c.refclocks[0].settling, 1s);
  EXPECT_FALSE(c.refclocks[0].configure);
  EXPECT_TRUE(c.refclocks[1].clear_edge);
  EXPECT_FALSE(c.refclocks[3].clear_edge);
  EXPECT_EQ(c.refclocks[3].channel, 1U);
  EXPECT_EQ(c.refclocks[3].pin, 0);
  EXPECT_EQ(c.refclocks[4].unit, 2U);
  EXPECT_EQ(c.refclocks[4].error_bound, 1ms);
  EXPECT_EQ(c.refclocks[5].device, "/run/timeball/ntp.sock");
  EXPECT_EQ(c.clock.mode, ClockMode::kSystem);
  EXPECT_EQ(c.clock.locked_bound, 1us);
  EXPECT_EQ(c.clock.holdover_limit, 50us);
  EXPECT_EQ(c.clock.reference_id, "GAL");
  EXPECT_EQ(c.clock.leap_file, "");
  const std::string printed = print_config(c);
  EXPECT_EQ(print_config(parsed(printed)), printed);
  EXPECT_EQ(parsed(kGpsd).refclocks[0].gpsd[0].to_string(), "[::1]:2948");
}

TEST(Settings, EverySettingIsRead) {
  const Config c = parsed(kEverything);
  EXPECT_EQ(c.ntp.listen[0].to_string(), "192.0.2.1:1123");
  EXPECT_EQ(c.ntp.shards, 3u);
  EXPECT_EQ(c.ntp.io, net::IoBackend::kMmsg);
  EXPECT_EQ(c.ntp.steering, Steering::kCpu);
  EXPECT_TRUE(c.ntp.symmetric_active);
  EXPECT_TRUE(c.ntp.require_nts);
  EXPECT_FALSE(c.nts_ke.enabled);
  EXPECT_EQ(c.nts_ke.listen[0].to_string(), "[2001:db8::1]:4461");
  EXPECT_EQ(c.nts_ke.certificates, Lines{"/c \"quoted\" \\ zeit-ö.pem"});
  EXPECT_EQ(c.nts_ke.private_keys, Lines{"/k.pem"});
  EXPECT_EQ(c.nts_ke.threads, 2u);
  EXPECT_EQ(c.nts_ke.aeads,
            (std::vector{crypto::AeadId::kAesSivCmac384, crypto::AeadId::kAesSivCmac256}));
  EXPECT_TRUE(c.nts_ke.gcm_siv_without_record_1024);
  EXPECT_EQ(c.nts_ke.servers, (std::vector<nts::NtpServer>{{"ntp1.example.net", 1}}));
  EXPECT_EQ(c.nts_ke.port, 1123);
  EXPECT_EQ(c.nts_ke.deadline, 250ms);
  EXPECT_EQ(c.nts_ke.max_connections, 100u);
  EXPECT_EQ(c.nts_ke.max_connections_per_address, 5u);
  EXPECT_EQ(c.nts_ke.ipv4_prefix, 24u);
  EXPECT_EQ(c.nts_ke.ipv6_prefix, 64u);
  EXPECT_EQ(c.nts_ke.rate, 300u);
  EXPECT_EQ(c.nts_ke.burst, 400u);
  EXPECT_EQ(c.nts_ke.rate_per_address, 3u);
  EXPECT_EQ(c.nts_ke.burst_per_address, 4u);
  EXPECT_EQ(c.nts_ke.busy_after, 0s);
  EXPECT_EQ(c.keys.file, "");
  EXPECT_EQ(c.keys.rotation, 24h * 7);
  EXPECT_EQ(c.keys.keep, 9u);
  ASSERT_EQ(c.access.allow.size(), 3u);
  EXPECT_EQ(c.access.allow[1].to_string(), "2001:db8::/32");
  EXPECT_EQ(c.access.deny[0].to_string(), "0.0.0.0/0");
  EXPECT_TRUE(c.rate_limit.enabled);
  EXPECT_EQ(c.rate_limit.interval, 1500us);
  EXPECT_EQ(c.rate_limit.burst, 9u);
  EXPECT_EQ(c.rate_limit.action, RateAction::kKiss);
  EXPECT_EQ(c.rate_limit.let_through, 0u);
  EXPECT_EQ(c.rate_limit.ipv4_prefix, 24u);
  EXPECT_EQ(c.rate_limit.ipv6_prefix, 48u);
  EXPECT_EQ(c.rate_limit.table_size, 1000u);
  EXPECT_EQ(c.rate_limit.refusals_per_second, 10u);
  EXPECT_EQ(c.refclocks[0].driver, RefclockDriver::kSystem);
  EXPECT_TRUE(c.refclocks[0].trust);
  EXPECT_EQ(c.refclocks[0].stratum, 1u);
  EXPECT_TRUE(c.admin.listen.empty());
  EXPECT_EQ(c.log.level, "debug");
  EXPECT_EQ(c.log.format, LogFormat::kJson);
}

TEST(Settings, PrintedConfigurationLoadsToTheSame) {
  for (const std::string_view toml : {std::string_view{}, kEverything}) {
    const Config config = parsed(toml);
    EXPECT_EQ(parsed(print_config(config)), config);
  }
}

TEST(Settings, PrintedConfigurationExplainsEachKey) {
  const std::string text = print_config(parsed("[keys]\nrotation = \"36h\"\n"));
  EXPECT_NE(text.find("\n[keys]\n"), std::string::npos);
  EXPECT_NE(text.find("# how often the master key changes\n"
                      "#   duration, \"1s\" to \"365d\"; default \"24h\"; needs a restart\n"
                      "rotation = \"36h\"\n"),
            std::string::npos);
}

TEST(Settings, ManualHasARowForEachKeyThatIsPrinted) {
  const std::string manual = settings_manual();
  EXPECT_NE(manual.find("| `[keys] keep` | integer | 1 to 1000 | generations | `7` | restart | "
                        "older master keys whose cookies still work |\n"),
            std::string::npos);
  const auto count = [](const std::string& text, const std::string& what) {
    std::size_t n = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
    return n;
  };
  // Each kind of reference clock prints what is for it: the device of each, then, is printed
  // thrice.
  std::set<std::string> keys;
  std::string section;
  std::istringstream printed(print_config(parsed("")) + print_config(parsed(kRack)) +
                             print_config(parsed(kGpsd)));
  for (std::string line; std::getline(printed, line);) {
    if (line.starts_with('[')) section = line;
    if (!line.empty() && !line.starts_with('#') && !line.starts_with('[')) {
      keys.insert(section + line.substr(0, line.find(' ')));
    }
  }
  EXPECT_EQ(count(manual, "\n| `["), keys.size());
}

TEST(Settings, ServerMayBeNameOrAddress) {
  for (const std::string host :
       {"localhost", "a.example", "192.0.2.1", "2001:db8::1", "x1-2.3com"}) {
    const auto servers = parsed("[nts_ke]\nserver = \"" + host + "\"\n").nts_ke.servers;
    EXPECT_EQ(servers, (std::vector<nts::NtpServer>{{host, 1}}));
  }
}

TEST(Settings, SeveralServersMayHaveWeights) {
  const Config c = parsed("[nts_ke]\nserver = [\"a.example\", \"192.0.2.1 3\", \"b.example 1\"]\n");
  EXPECT_EQ(c.nts_ke.servers,
            (std::vector<nts::NtpServer>{{"a.example", 1}, {"192.0.2.1", 3}, {"b.example", 1}}));
  EXPECT_NE(print_config(c).find("\nserver = [\"a.example\", \"192.0.2.1 3\", \"b.example\"]\n"),
            std::string::npos);
  EXPECT_TRUE(parsed("[nts_ke]\nserver = \"\"\n").nts_ke.servers.empty());
  for (const std::string wrong : {"a 0", "a 1001", "a x", "a 1 ", "a ", " 1", "a 2 3", "a -1"}) {
    const auto loaded = parse_config("[nts_ke]\nserver = [\"" + wrong + "\"]\n", "t.toml");
    EXPECT_EQ(loaded.errors.size(), 1U) << wrong;
  }
}

// ---- Files.

class SettingsFiles : public testing::Test {
 protected:
  using Pkey = OpenSsl<EVP_PKEY, EVP_PKEY_free>;
  using Certificate = OpenSsl<X509, X509_free>;
  using File = OpenSsl<std::FILE, std::fclose>;

  struct Validity {
    long from_seconds = -3600;  // from now
    long until_seconds = 86400;
  };

  void SetUp() override {
    std::string pattern = testing::TempDir() + "settings.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + '/' + name; }

  static Pkey make_key() { return Pkey(EVP_EC_gen("P-256")); }

  static Certificate make_certificate(EVP_PKEY* key, Validity validity, bool with_name = true) {
    Certificate certificate(X509_new());
    X509_set_version(certificate.get(), X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), validity.from_seconds);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), validity.until_seconds);
    X509_set_pubkey(certificate.get(), key);
    if (with_name) {
      OpenSsl<X509_EXTENSION, X509_EXTENSION_free> names(
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost"));
      X509_add_ext(certificate.get(), names.get(), -1);
    }
    X509_sign(certificate.get(), key, EVP_sha256());
    return certificate;
  }

  void write_chain(const std::vector<X509*>& chain) {
    File file(std::fopen(path("chain.pem").c_str(), "w"));
    for (X509* certificate : chain) PEM_write_X509(file.get(), certificate);
  }

  void write_key(EVP_PKEY* key, mode_t mode = 0600, const char* passphrase = nullptr) {
    const std::string name = path("key.pem");
    const EVP_CIPHER* cipher = passphrase ? EVP_aes_128_cbc() : nullptr;
    const int length = passphrase ? static_cast<int>(std::string_view(passphrase).size()) : 0;
    File file(std::fopen(name.c_str(), "w"));
    PEM_write_PrivateKey(file.get(), key, cipher,
                         reinterpret_cast<const unsigned char*>(passphrase), length, nullptr,
                         nullptr);
    ::chmod(name.c_str(), mode);
  }

  void write_text(const std::string& name, std::string_view text) {
    std::ofstream(path(name)) << text;
  }

  // certificate on line 2, private_key on line 3, keys.file on line 5.
  LoadedConfig load(const std::string& more = "") {
    write_text("timeball.toml", "[nts_ke]\ncertificate = \"" + path("chain.pem") +
                                    "\"\nprivate_key = \"" + path("key.pem") +
                                    "\"\n[keys]\nfile = \"" + path("master-keys") + "\"\n" + more);
    return load_config(path("timeball.toml"));
  }

  // The one error, without the directory's name.
  std::string only_error(const LoadedConfig& loaded) { return only(loaded.errors); }
  std::string only_warning(const LoadedConfig& loaded) { return only(loaded.warnings); }

 private:
  std::string only(const std::vector<ConfigError>& errors) {
    EXPECT_EQ(errors.size(), 1u) << testing::PrintToString(lines(errors));
    if (errors.empty()) return {};
    std::string text = errors.front().to_string();
    for (auto at = text.find(directory_); at != text.npos; at = text.find(directory_)) {
      text.replace(at, directory_.size(), "DIR");
    }
    return text;
  }

  std::string directory_;
};

TEST_F(SettingsFiles, GoodFilesGiveNoErrorAndNoWarning) {
  const auto key = make_key();
  write_chain({make_certificate(key.get(), {}).get()});
  write_key(key.get());
  const LoadedConfig loaded = load();
  EXPECT_EQ(lines(loaded.errors), Lines{});
  EXPECT_EQ(lines(loaded.warnings), Lines{});
  EXPECT_EQ(loaded.config.nts_ke.certificates, Lines{path("chain.pem")});
}

TEST_F(SettingsFiles, MissingConfigurationIsNamed) {
  EXPECT_EQ(only_error(load_config(path("none.toml"))),
            "DIR/none.toml: cannot read \"DIR/none.toml\": No such file or directory; check the "
            "name and the rights of the file");
}

TEST_F(SettingsFiles, DirectoryAsConfigurationIsNamed) {
  EXPECT_EQ(only_error(load_config(path(""))),
            "DIR/: cannot read \"DIR/\": Is a directory; check the name and the rights of the "
            "file");
}

TEST_F(SettingsFiles, SyntaxErrorHidesChecksOfDefaults) {
  write_text("t.toml", "[ntp");
  EXPECT_EQ(load_config(path("t.toml")).errors.size(), 1u);
}

TEST_F(SettingsFiles, FilesThatAreNotThereAreReportedTogether) {
  const auto errors = load("[ntp]\nshards = -1\n").errors;
  ASSERT_EQ(errors.size(), 3u);
  EXPECT_EQ(errors[0].line, 2u);
  EXPECT_EQ(errors[0].message, "nts_ke.certificate: cannot read \"" + path("chain.pem") +
                                   "\": No such file or directory; check the name and the rights "
                                   "of the file");
  EXPECT_EQ(errors[1].line, 3u);
  EXPECT_EQ(errors[1].message, "nts_ke.private_key: cannot read \"" + path("key.pem") +
                                   "\": No such file or directory; check the name and the rights "
                                   "of the file");
  EXPECT_EQ(errors[2].line, 7u);
}

TEST_F(SettingsFiles, WithoutNtsKeNoCertificateIsNeeded) {
  write_text("t.toml", "[nts_ke]\nenabled = false\n[keys]\nfile = \"\"\n");
  EXPECT_EQ(lines(load_config(path("t.toml")).errors), Lines{});
}

// The clock may be the one that is wrong; a daemon that knows the time says so again.
TEST_F(SettingsFiles, ExpiredCertificateIsAWarning) {
  const auto key = make_key();
  const auto certificate = make_certificate(key.get(), {-7200, -60});
  write_chain({certificate.get()});
  write_key(key.get());
  const LoadedConfig loaded = load();
  EXPECT_EQ(lines(loaded.errors), Lines{});
  const std::string error = only_warning(loaded);
  EXPECT_EQ(error.find("DIR/timeball.toml:2: nts_ke.certificate: \"DIR/chain.pem\" expired at 20"),
            0u)
      << error;
  EXPECT_NE(error.find(" UTC; renew it, or set this machine's clock if that is wrong"),
            std::string::npos)
      << error;
}

TEST_F(SettingsFiles, ExpiredIntermediateIsNamedByItsPlace) {
  const auto key = make_key();
  const auto leaf = make_certificate(key.get(), {});
  const auto intermediate = make_certificate(make_key().get(), {-7200, -60});
  write_chain({leaf.get(), intermediate.get()});
  write_key(key.get());
  const std::string error = only_warning(load());
  EXPECT_EQ(error.find("DIR/timeball.toml:2: nts_ke.certificate: certificate 2 in "
                       "\"DIR/chain.pem\" expired at"),
            0u)
      << error;
}

// The clock may be the one that is wrong: an appliance that boots in 1970 must still serve.
TEST_F(SettingsFiles, CertificateOfTheFutureIsAWarning) {
  const auto key = make_key();
  write_chain({make_certificate(key.get(), {3600, 7200}).get()});
  write_key(key.get());
  const LoadedConfig loaded = load();
  EXPECT_EQ(lines(loaded.errors), Lines{});
  const std::string warning = only_warning(loaded);
  EXPECT_EQ(
      warning.find("DIR/timeball.toml:2: nts_ke.certificate: \"DIR/chain.pem\" is not valid before "
                   "20"),
      0u)
      << warning;
  EXPECT_NE(warning.find("; set this machine's clock, or use a certificate that is valid now"),
            std::string::npos)
      << warning;
}

TEST_F(SettingsFiles, KeyOfAnotherCertificateIsRefused) {
  write_chain({make_certificate(make_key().get(), {}).get()});
  write_key(make_key().get());
  EXPECT_EQ(only_error(load()),
            "DIR/timeball.toml:3: nts_ke.private_key: \"DIR/key.pem\" is not the key of the "
            "certificate in \"DIR/chain.pem\"; name the two files that were made together");
}

TEST_F(SettingsFiles, ChainInTheWrongOrderIsRefused) {
  const auto key = make_key();
  const auto leaf = make_certificate(key.get(), {});
  const auto authority = make_certificate(make_key().get(), {});
  write_chain({authority.get(), leaf.get()});
  write_key(key.get());
  EXPECT_EQ(only_error(load()),
            "DIR/timeball.toml:2: nts_ke.certificate: the server's own certificate stands at place "
            "2 in \"DIR/chain.pem\"; put it first");
}

TEST_F(SettingsFiles, FileWithoutCertificateIsRefused) {
  write_text("chain.pem", "hello\n");
  write_key(make_key().get());
  EXPECT_EQ(only_error(load()),
            "DIR/timeball.toml:2: nts_ke.certificate: \"DIR/chain.pem\" holds no certificate; it "
            "must be PEM (-----BEGIN CERTIFICATE-----)");
}

TEST_F(SettingsFiles, DamagedCertificateIsRefused) {
  write_text("chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  write_key(make_key().get());
  EXPECT_EQ(only_error(load()),
            "DIR/timeball.toml:2: nts_ke.certificate: certificate 1 in \"DIR/chain.pem\" is "
            "damaged; copy the PEM file again");
}

TEST_F(SettingsFiles, FileWithoutKeyIsRefused) {
  write_chain({make_certificate(make_key().get(), {}).get()});
  write_text("key.pem", "");
  ::chmod(path("key.pem").c_str(), 0600);
  EXPECT_EQ(
      only_error(load()),
      "DIR/timeball.toml:3: nts_ke.private_key: \"DIR/key.pem\" holds no private key; it must "
      "be PEM (-----BEGIN PRIVATE KEY-----)");
}

TEST_F(SettingsFiles, EncryptedKeyIsRefusedWithoutAsking) {
  const auto key = make_key();
  write_chain({make_certificate(key.get(), {}).get()});
  write_key(key.get(), 0600, "secret");
  EXPECT_EQ(only_error(load()),
            "DIR/timeball.toml:3: nts_ke.private_key: \"DIR/key.pem\" is encrypted; write it "
            "without a passphrase: openssl pkey -in OLD -out NEW");
}

TEST_F(SettingsFiles, KeyOpenToOthersIsWorthAWarning) {
  const auto key = make_key();
  write_chain({make_certificate(key.get(), {}).get()});
  write_key(key.get(), 0640);
  const LoadedConfig loaded = load();
  EXPECT_EQ(lines(loaded.errors), Lines{});
  EXPECT_EQ(only_warning(loaded),
            "DIR/timeball.toml:3: nts_ke.private_key: \"DIR/key.pem\" is open to other users of "
            "this machine; run chmod 600 DIR/key.pem");
}

TEST_F(SettingsFiles, CertificateWithoutNamesIsWorthAWarning) {
  const auto key = make_key();
  write_chain({make_certificate(key.get(), {}, false).get()});
  write_key(key.get());
  const LoadedConfig loaded = load();
  EXPECT_EQ(lines(loaded.errors), Lines{});
  EXPECT_EQ(only_warning(loaded),
            "DIR/timeball.toml:2: nts_ke.certificate: \"DIR/chain.pem\" has no subject alternative "
            "name, so clients will refuse it; get one that names this server's DNS names or "
            "addresses");
}

TEST(Settings, OneCertificateIsATextAndSeveralAreAList) {
  const Config one = parsed("[nts_ke]\ncertificate = [\"/a\"]\nprivate_key = \"/k\"\n");
  EXPECT_NE(print_config(one).find("\ncertificate = \"/a\"\n"), std::string::npos);
  const Config two =
      parsed("[nts_ke]\ncertificate = [\"/a\", \"/b\"]\nprivate_key = [\"/k\", \"/l\"]\n");
  EXPECT_EQ(two.nts_ke.certificates, (Lines{"/a", "/b"}));
  EXPECT_EQ(two.nts_ke.private_keys, (Lines{"/k", "/l"}));
  const std::string printed = print_config(two);
  EXPECT_NE(printed.find("\nprivate_key = [\"/k\", \"/l\"]\n"), std::string::npos);
  EXPECT_EQ(print_config(parsed(printed)), printed);
}

TEST_F(SettingsFiles, ACertificateThatAnotherHidesIsWorthAWarning) {
  const auto key = make_key();
  write_chain({make_certificate(key.get(), {}).get()});
  write_key(key.get());
  std::filesystem::copy(path("chain.pem"), path("twin.pem"));
  write_text("t.toml", "[nts_ke]\ncertificate = [\"" + path("chain.pem") + "\", \"" +
                           path("twin.pem") + "\"]\nprivate_key = [\"" + path("key.pem") +
                           "\", \"" + path("key.pem") + "\"]\n[keys]\nfile = \"" +
                           path("master-keys") + "\"\n");
  const LoadedConfig loaded = load_config(path("t.toml"));
  EXPECT_EQ(lines(loaded.errors), Lines{});
  EXPECT_EQ(only_warning(loaded),
            "DIR/t.toml:2: nts_ke.certificate: \"DIR/twin.pem\" is never used: \"DIR/chain.pem\" "
            "has its names and the same type of key; remove one");
}

TEST_F(SettingsFiles, KeyThatOpenSslFindsTooShortIsRefused) {
  const Pkey key(EVP_RSA_gen(1024));
  write_chain({make_certificate(key.get(), {}).get()});
  write_key(key.get());
  EXPECT_EQ(only_error(load()),
            "DIR/timeball.toml:3: nts_ke.private_key: \"DIR/chain.pem\" cannot be used (ee key too "
            "small); get a certificate with a stronger key");
}

TEST_F(SettingsFiles, KeyFileNeedsItsDirectory) {
  write_text("t.toml",
             "[nts_ke]\nenabled = false\n[keys]\nfile = \"" + path("none/master-keys") + "\"\n");
  EXPECT_EQ(
      only_error(load_config(path("t.toml"))),
      "DIR/t.toml:4: keys.file: the directory \"DIR/none\" is not there; run install -d -m 700 "
      "DIR/none");
}

TEST_F(SettingsFiles, KeyFileMustNotBeADirectory) {
  write_text("t.toml", "[nts_ke]\nenabled = false\n[keys]\nfile = \"" + path("") + "\"\n");
  EXPECT_EQ(only_error(load_config(path("t.toml"))),
            "DIR/t.toml:4: keys.file: \"DIR/\" is a directory; name a file in it");
}

TEST(SettingsChanges, NameEachRowThatDiffersAndWhetherAReloadSuffices) {
  const Config before = parse_config("", "t").config;
  EXPECT_TRUE(changes(before, before).empty());
  const Config after =
      parse_config("[access]\ndeny = [\"192.0.2.0/24\"]\n[keys]\nkeep = 9\n", "t").config;
  const auto found = changes(before, after);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].path, "keys.keep");
  EXPECT_EQ(found[0].from, "7");
  EXPECT_EQ(found[0].to, "9");
  EXPECT_FALSE(found[0].reloadable);
  EXPECT_EQ(found[1].path, "access.deny");
  EXPECT_EQ(found[1].to, R"(["192.0.2.0/24"])");
  EXPECT_TRUE(found[1].reloadable);
}

}  // namespace
}  // namespace timeball::server
