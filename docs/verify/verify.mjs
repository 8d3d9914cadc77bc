// The gateway's assertion, verified by an upstream in JavaScript (Node.js, nothing else).
//
//   node verify.mjs KEYS_URL ISSUER AUDIENCE      reads lines "METHOD ASSERTION", answers each with claims or with "refused: why"
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { createInterface } from "node:readline";

const LEEWAY_SECONDS = 5;
const REFETCH_MILLISECONDS = 10_000;

class Refused extends Error {}

// The gateway's keys, fetched again for an unknown `kid`, at most every ten seconds.
export class Keys {
  #url;
  #keys = new Map();
  #fetched = -Infinity;

  constructor(url) {
    this.#url = url;
  }

  async find(kid) {
    const now = performance.now();
    if (!this.#keys.has(kid) && now - this.#fetched >= REFETCH_MILLISECONDS) {
      this.#fetched = now;
      const answer = await fetch(this.#url, { redirect: "error", signal: AbortSignal.timeout(5_000) });
      if (answer.status !== 200) throw new Error(`the gateway's keys were answered with ${answer.status}`);
      const published = (await answer.json()).keys.filter((key) => key.kty === "EC" && key.crv === "P-256");
      this.#keys = new Map(published.map((key) => [key.kid, createPublicKey({ key, format: "jwk" })]));
    }
    if (!this.#keys.has(kid)) throw new Refused("key");
    return this.#keys.get(kid);
  }
}

function decode(part) {
  if (!/^[A-Za-z0-9_-]*$/.test(part)) throw new Refused("encoding");
  return Buffer.from(part, "base64url");
}

function object(bytes) {
  try {
    const value = JSON.parse(bytes);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {}
  throw new Refused("encoding");
}

// `assertions`: all values of the header (`request.headersDistinct`). Returns the claims.
export async function verify(assertions, method, keys, issuer, audience) {
  if (assertions.length !== 1) throw new Refused("not one assertion");
  const parts = assertions[0].split(".");
  if (parts.length !== 3) throw new Refused("parts");
  const header = object(decode(parts[0]));
  // What the sender wrote does not choose the algorithm, nor where keys come from.
  if (header.alg !== "ES256" || header.typ !== "symbolon-assertion+jwt" || "crit" in header) throw new Refused("header");
  const key = { key: await keys.find(header.kid), dsaEncoding: "ieee-p1363" };
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
  if (!verifySignature("sha256", signed, key, decode(parts[2]))) throw new Refused("signature");
  const claims = object(decode(parts[1]));
  for (const [name, expected] of [["iss", issuer], ["aud", audience], ["method", method]]) {
    if (claims[name] !== expected) throw new Refused(name);
  }
  const now = Date.now() / 1000;
  if (!Number.isInteger(claims.exp) || now >= claims.exp + LEEWAY_SECONDS) throw new Refused("exp");
  if (!Number.isInteger(claims.iat) || claims.iat > now + LEEWAY_SECONDS) throw new Refused("iat");
  return claims;
}

if (process.argv[1] === import.meta.filename) {
  const [url, issuer, audience] = process.argv.slice(2);
  const keys = new Keys(url);
  for await (const line of createInterface({ input: process.stdin })) {
    const [method, ...assertions] = line.split(" ").filter(Boolean);
    try {
      console.log(JSON.stringify(await verify(assertions, method, keys, issuer, audience)));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      console.log(`refused: ${error.message}`);
    }
  }
}
