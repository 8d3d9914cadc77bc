// The gateway's assertion, verified by an upstream in Go (standard library alone).
//
//	go run verify.go KEYS_URL ISSUER AUDIENCE      reads lines "METHOD ASSERTION", answers each with claims or with "refused: why"
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	leeway  = 5 * time.Second
	refetch = 10 * time.Second
)

// Keys are the gateway's, fetched again for an unknown `kid`, at most every ten seconds.
type Keys struct {
	URL     string
	lock    sync.Mutex
	keys    map[string]*ecdsa.PublicKey
	fetched time.Time
}

func (k *Keys) find(kid string) (*ecdsa.PublicKey, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	if k.keys[kid] == nil && time.Since(k.fetched) >= refetch {
		k.fetched = time.Now()
		if err := k.fetch(); err != nil {
			return nil, err
		}
	}
	if key := k.keys[kid]; key != nil {
		return key, nil
	}
	return nil, errors.New("key")
}

func (k *Keys) fetch() error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(k.URL)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Y string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return err
	}
	k.keys = map[string]*ecdsa.PublicKey{}
	for _, key := range set.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(key.X)
		y, errY := base64.RawURLEncoding.DecodeString(key.Y)
		if key.Kty == "EC" && key.Crv == "P-256" && errX == nil && errY == nil {
			k.keys[key.Kid] = &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
		}
	}
	return nil
}

func object(part string) (map[string]any, error) {
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, errors.New("encoding")
	}
	var members map[string]any
	if err := json.Unmarshal(bytes, &members); err != nil || members == nil {
		return nil, errors.New("encoding")
	}
	return members, nil
}

// Verify takes all values of the header (request.Header.Values) and returns the claims.
func Verify(assertions []string, method string, keys *Keys, issuer, audience string) (map[string]any, error) {
	if len(assertions) != 1 {
		return nil, errors.New("not one assertion")
	}
	parts := strings.Split(assertions[0], ".")
	if len(parts) != 3 {
		return nil, errors.New("parts")
	}
	header, err := object(parts[0])
	if err != nil {
		return nil, err
	}
	// What the sender wrote does not choose the algorithm, nor where keys come from.
	if _, critical := header["crit"]; critical || header["alg"] != "ES256" || header["typ"] != "symbolon-assertion+jwt" {
		return nil, errors.New("header")
	}
	kid, _ := header["kid"].(string)
	key, err := keys.find(kid)
	if err != nil {
		return nil, err
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return nil, errors.New("signature")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return nil, errors.New("signature")
	}
	claims, err := object(parts[1])
	if err != nil {
		return nil, err
	}
	for _, one := range [][2]string{{"iss", issuer}, {"aud", audience}, {"method", method}} {
		if claims[one[0]] != one[1] {
			return nil, errors.New(one[0])
		}
	}
	now := time.Now()
	if exp, ok := claims["exp"].(float64); !ok || !now.Before(time.Unix(int64(exp), 0).Add(leeway)) {
		return nil, errors.New("exp")
	}
	if iat, ok := claims["iat"].(float64); !ok || time.Unix(int64(iat), 0).After(now.Add(leeway)) {
		return nil, errors.New("iat")
	}
	return claims, nil
}

func main() {
	keys := &Keys{URL: os.Args[1]}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		claims, err := Verify(words[1:], words[0], keys, os.Args[2], os.Args[3])
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		text, _ := json.Marshal(claims)
		fmt.Println(string(text))
	}
}
