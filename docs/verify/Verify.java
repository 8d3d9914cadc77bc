import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The gateway's assertion, verified by an upstream in Java (JDK 17 alone).
 *
 * <pre>java Verify.java KEYS_URL ISSUER AUDIENCE</pre> reads lines "METHOD ASSERTION", answers each with the payload or with
 * "refused: why".
 */
public final class Verify {
    private static final long LEEWAY_SECONDS = 5;
    private static final Duration REFETCH = Duration.ofSeconds(10);

    static final class Refused extends Exception {
        Refused(String why) {
            super(why);
        }
    }

    /** The gateway's keys, fetched again for an unknown `kid`, at most every ten seconds. */
    static final class Keys {
        private final URI url;
        private final HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
        private Map<String, PublicKey> keys = Map.of();
        private long fetched;
        private boolean tried;

        Keys(URI url) {
            this.url = url;
        }

        synchronized PublicKey find(Object kid) throws Exception {
            if (!(kid instanceof String)) throw new Refused("key");
            if (!keys.containsKey(kid) && (!tried || System.nanoTime() - fetched >= REFETCH.toNanos())) {
                tried = true;
                fetched = System.nanoTime();
                var request = HttpRequest.newBuilder(url).timeout(Duration.ofSeconds(5)).build();
                var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                if (answer.statusCode() != 200) throw new IllegalStateException("the gateway's keys: " + answer.statusCode());
                var published = new HashMap<String, PublicKey>();
                for (Object one : (List<?>) Json.object(answer.body()).get("keys")) {
                    var key = (Map<?, ?>) one;
                    if ("EC".equals(key.get("kty")) && "P-256".equals(key.get("crv"))) {
                        published.put((String) key.get("kid"), publicKey((String) key.get("x"), (String) key.get("y")));
                    }
                }
                keys = published;
            }
            PublicKey key = keys.get(kid);
            if (key == null) throw new Refused("key");
            return key;
        }

        private static PublicKey publicKey(String x, String y) throws Exception {
            var parameters = AlgorithmParameters.getInstance("EC");
            parameters.init(new ECGenParameterSpec("secp256r1"));
            var point = new ECPoint(new BigInteger(1, decode(x)), new BigInteger(1, decode(y)));
            var curve = parameters.getParameterSpec(ECParameterSpec.class);
            return KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(point, curve));
        }
    }

    static byte[] decode(String part) throws Refused {
        try {
            if (part.indexOf('=') >= 0) throw new Refused("encoding");
            return Base64.getUrlDecoder().decode(part);
        } catch (IllegalArgumentException error) {
            throw new Refused("encoding");
        }
    }

    static Map<String, Object> object(String part) throws Refused {
        return Json.object(new String(decode(part), StandardCharsets.UTF_8));
    }

    /** `assertions`: all values of the header. Returns the claims. */
    static Map<String, Object> verify(List<String> assertions, String method, Keys keys, String issuer, String audience)
            throws Exception {
        if (assertions.size() != 1) throw new Refused("not one assertion");
        String[] parts = assertions.get(0).split("\\.", -1);
        if (parts.length != 3) throw new Refused("parts");
        var header = object(parts[0]);
        // What the sender wrote does not choose the algorithm, nor where keys come from.
        boolean known = "ES256".equals(header.get("alg")) && "symbolon-assertion+jwt".equals(header.get("typ"));
        if (!known || header.containsKey("crit")) throw new Refused("header");
        var signature = Signature.getInstance("SHA256withECDSAinP1363Format");
        signature.initVerify(keys.find(header.get("kid")));
        signature.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
        byte[] signed = decode(parts[2]);
        if (signed.length != 64 || !signature.verify(signed)) throw new Refused("signature");
        var claims = object(parts[1]);
        for (String[] one : new String[][] {{"iss", issuer}, {"aud", audience}, {"method", method}}) {
            if (!one[1].equals(claims.get(one[0]))) throw new Refused(one[0]);
        }
        long now = System.currentTimeMillis() / 1000;
        if (!(claims.get("exp") instanceof Long exp) || now >= exp + LEEWAY_SECONDS) throw new Refused("exp");
        if (!(claims.get("iat") instanceof Long iat) || iat > now + LEEWAY_SECONDS) throw new Refused("iat");
        return claims;
    }

    /** As much of JSON as is needed without a library; use yours. */
    static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Map<String, Object> object(String text) throws Refused {
            try {
                var json = new Json(text);
                @SuppressWarnings("unchecked")
                var value = (Map<String, Object>) json.value();
                json.space();
                if (json.at != text.length()) throw new Refused("encoding");
                return value;
            } catch (ClassCastException | IndexOutOfBoundsException | IllegalArgumentException error) {
                throw new Refused("encoding");
            }
        }

        private void space() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
        }

        private boolean eats(char wanted) {
            space();
            if (text.charAt(at) != wanted) return false;
            at++;
            return true;
        }

        private void expect(char wanted) {
            if (!eats(wanted)) throw new IllegalArgumentException();
        }

        private Object value() {
            if (eats('{')) {
                var members = new LinkedHashMap<String, Object>();
                if (eats('}')) return members;
                do {
                    expect('"');
                    String name = string();
                    expect(':');
                    if (members.containsKey(name)) throw new IllegalArgumentException();
                    members.put(name, value());
                } while (eats(','));
                expect('}');
                return members;
            }
            if (eats('[')) {
                var values = new ArrayList<Object>();
                if (eats(']')) return values;
                do values.add(value()); while (eats(','));
                expect(']');
                return values;
            }
            if (eats('"')) return string();
            int start = at;
            while (at < text.length() && "+-.0123456789Eaeflnrstu".indexOf(text.charAt(at)) >= 0) at++;
            String word = text.substring(start, at);
            return switch (word) {
                case "true" -> true;
                case "false" -> false;
                case "null" -> null;
                default -> word.matches("-?\\d+") ? (Object) Long.valueOf(word) : (Object) Double.valueOf(word);
            };
        }

        private String string() {
            var value = new StringBuilder();
            for (char next; (next = text.charAt(at++)) != '"'; ) {
                if (next != '\\') {
                    value.append(next);
                    continue;
                }
                char escaped = text.charAt(at++);
                switch (escaped) {
                    case 'b' -> value.append('\b');
                    case 'f' -> value.append('\f');
                    case 'n' -> value.append('\n');
                    case 'r' -> value.append('\r');
                    case 't' -> value.append('\t');
                    case 'u' -> {
                        value.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                        at += 4;
                    }
                    default -> value.append(escaped);
                }
            }
            return value.toString();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var keys = new Keys(URI.create(arguments[0]));
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.trim().split(" +");
            try {
                List<String> assertions = Arrays.asList(words).subList(1, words.length);
                verify(assertions, words[0], keys, arguments[1], arguments[2]);
                System.out.println(new String(decode(words[1].split("\\.")[1]), StandardCharsets.UTF_8));
            } catch (Refused why) {
                System.out.println("refused: " + why.getMessage());
            }
        }
    }
}
