// Whether a token is valid by the Token Status List that it names, with other people's code: jose for the signatures,
// @sd-jwt/jwt-status-list for the list.
//
// Takes one JSON argument: token, list (what was fetched from the token's `uri`), jwks, issuer, audience, now (seconds). Prints
// {"status": N}, or exits 1 with the reason.

import { createLocalJWKSet, jwtVerify } from "jose";
import { getListFromStatusListJWT } from "@sd-jwt/jwt-status-list";

const { token, list, jwks, issuer, audience, now } = JSON.parse(process.argv[2]);
const keys = createLocalJWKSet(jwks);
const currentDate = new Date(now * 1000);
try {
  const { payload } = await jwtVerify(token, keys, { issuer, audience, currentDate, typ: "at+jwt" });
  const { idx, uri } = payload.status.status_list;
  const rules = { issuer, subject: uri, currentDate, typ: "statuslist+jwt", requiredClaims: ["iat", "exp"] };
  await jwtVerify(list, keys, rules);
  console.log(JSON.stringify({ status: getListFromStatusListJWT(list).getStatus(idx) }));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
