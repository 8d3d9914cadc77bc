# The gateway's assertion, verified by an upstream in Ruby (standard library alone).
#
#   ruby verify.rb KEYS_URL ISSUER AUDIENCE      reads lines "METHOD ASSERTION", answers each with claims or with "refused: why"
require "json"
require "net/http"
require "openssl"

LEEWAY_SECONDS = 5
REFETCH_SECONDS = 10

class Refused < StandardError; end

def decode(part)
  raise Refused, "encoding" unless part.match?(/\A[A-Za-z0-9_-]*\z/)
  part.tr("-_", "+/").ljust((part.length + 3) / 4 * 4, "=").unpack1("m0")
rescue ArgumentError
  raise Refused, "encoding"
end

def object(bytes)
  value = JSON.parse(bytes)
  raise Refused, "encoding" unless value.is_a?(Hash)
  value
rescue JSON::ParserError
  raise Refused, "encoding"
end

# The gateway's keys, fetched again for an unknown `kid`, at most every ten seconds.
class Keys
  def initialize(url)
    @url = URI(url)
    @keys = {}
    @fetched = nil
  end

  def find(kid)
    now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    if !@keys.key?(kid) && (@fetched.nil? || now - @fetched >= REFETCH_SECONDS)
      @fetched = now
      answer = Net::HTTP.get_response(@url)
      raise "the gateway's keys were answered with #{answer.code}" unless answer.code == "200"
      published = JSON.parse(answer.body)["keys"].select { |key| key["kty"] == "EC" && key["crv"] == "P-256" }
      @keys = published.to_h { |key| [key["kid"], public_key(key)] }
    end
    @keys.fetch(kid) { raise Refused, "key" }
  end

  private

  # SubjectPublicKeyInfo of a point on P-256 (RFC 5480).
  def public_key(jwk)
    names = OpenSSL::ASN1::Sequence([OpenSSL::ASN1::ObjectId("id-ecPublicKey"), OpenSSL::ASN1::ObjectId("prime256v1")])
    point = OpenSSL::ASN1::BitString("\x04".b + decode(jwk["x"]) + decode(jwk["y"]))
    OpenSSL::PKey.read(OpenSSL::ASN1::Sequence([names, point]).to_der)
  end
end

# `assertions`: all values of the header. Returns the claims.
def verify(assertions, method, keys, issuer, audience)
  raise Refused, "not one assertion" unless assertions.length == 1
  parts = assertions.first.split(".", -1)
  raise Refused, "parts" unless parts.length == 3
  header = object(decode(parts[0]))
  # What the sender wrote does not choose the algorithm, nor where keys come from.
  known = header["alg"] == "ES256" && header["typ"] == "symbolon-assertion+jwt" && !header.key?("crit")
  raise Refused, "header" unless known
  key = keys.find(header["kid"])
  signature = decode(parts[2])
  raise Refused, "signature" unless signature.bytesize == 64
  numbers = [signature[0, 32], signature[32, 32]].map { |bytes| OpenSSL::ASN1::Integer(OpenSSL::BN.new(bytes, 2)) }
  der = OpenSSL::ASN1::Sequence(numbers).to_der
  raise Refused, "signature" unless key.verify("SHA256", der, "#{parts[0]}.#{parts[1]}")
  claims = object(decode(parts[1]))
  { "iss" => issuer, "aud" => audience, "method" => method }.each do |name, expected|
    raise Refused, name unless claims[name] == expected
  end
  now = Time.now.to_f
  raise Refused, "exp" unless claims["exp"].is_a?(Integer) && now < claims["exp"] + LEEWAY_SECONDS
  raise Refused, "iat" unless claims["iat"].is_a?(Integer) && claims["iat"] <= now + LEEWAY_SECONDS
  claims
end

if $PROGRAM_NAME == __FILE__
  url, issuer, audience = ARGV
  keys = Keys.new(url)
  $stdout.sync = true
  $stdin.each_line do |line|
    method, *assertions = line.split
    begin
      puts JSON.generate(verify(assertions, method, keys, issuer, audience))
    rescue Refused => error
      puts "refused: #{error.message}"
    end
  end
end
