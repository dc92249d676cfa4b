// The client's half of NTS-KE: a response that is accepted can be used, one that is not says why.
#include <algorithm>

#include "common/nts/client.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::nts;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  KeRequestOptions sent;
  sent.compliant_gcm_siv = data[0] % 2 == 1;
  if (data[0] & 2) sent.aeads = {15};
  const auto response = parse_ke_response(Bytes(data, size).subspan(1), sent);
  if (!response) {
    require(!response.error().detail.empty());
    require(response.error().error_code.has_value() ==
            (response.error().kind == KeFailure::Kind::kErrorRecord));
    return 0;
  }
  const auto id = static_cast<std::uint16_t>(response->aead);
  require(std::ranges::find(sent.aeads, id) != sent.aeads.end());
  require(response->exporter_aead == id || (id == 30 && response->exporter_aead == 15));
  require(!response->cookies.empty());
  for (const auto& cookie : response->cookies) {
    require(!cookie.empty() && cookie.size() <= kMaxForeignCookieLength);
  }
  if (response->server) require(is_server_name(*response->server));
  return 0;
}
