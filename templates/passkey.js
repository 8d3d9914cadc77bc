// Passkeys (W3C Web Authentication). A form with `data-passkey` is shown where the browser knows them; when it is sent, the browser asks its
// person for a passkey, what comes of that is put into the field `credential`, and the form goes on as any other.
(() => {
  "use strict";
  const form = document.querySelector("form[data-passkey]");
  const knows = window.isSecureContext && window.PublicKeyCredential && navigator.credentials;
  if (!form || !knows) return;
  const button = form.querySelector("button");
  const problem = document.getElementById("passkey-problem");
  const instead = document.getElementById("passkey-absent");

  // What goes along with a password or a code goes along with a passkey: the form's token, and what waits.
  const beside = document.getElementById("sign-in");
  if (beside) for (const field of beside.querySelectorAll("input[type=hidden]")) form.append(field.cloneNode());

  const bytes = (text) => {
    const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  };
  const text = (buffer) => {
    let binary = "";
    for (const byte of new Uint8Array(buffer)) binary += String.fromCharCode(byte);
    return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const named = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const make = async (options) => {
    const publicKey = {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: named(options.excludeCredentials),
    };
    const made = await navigator.credentials.create({ publicKey });
    const said = made.response;
    return {
      id: made.id,
      rawId: text(made.rawId),
      type: made.type,
      response: {
        clientDataJSON: text(said.clientDataJSON),
        attestationObject: text(said.attestationObject),
        transports: said.getTransports ? said.getTransports() : [],
      },
    };
  };

  const use = async (options) => {
    const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: named(options.allowCredentials) };
    const used = await navigator.credentials.get({ publicKey });
    const said = used.response;
    return {
      id: used.id,
      rawId: text(used.rawId),
      type: used.type,
      response: {
        clientDataJSON: text(said.clientDataJSON),
        authenticatorData: text(said.authenticatorData),
        signature: text(said.signature),
        userHandle: said.userHandle ? text(said.userHandle) : null,
      },
    };
  };

  // Asked for when it is needed, so that looking at the page costs nothing.
  const asked = async () => {
    const body = new URLSearchParams({ csrf: form.elements.csrf.value });
    const answer = await fetch(form.dataset.options, { method: "POST", body, credentials: "same-origin", redirect: "error" });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error_description);
    form.elements.attempt.value = said.attempt;
    return said.public_key;
  };

  const words = (error) => {
    if (error.name === "InvalidStateError") return "This device has a passkey for your account already.";
    if (error.name === "NotAllowedError" || error.name === "AbortError") return "No passkey was used. You can try again.";
    if (error.name === "Error" && error.message) return error.message;
    return "That did not work. You can try again, or sign in another way.";
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      const makes = form.dataset.passkey === "make";
      const said = makes ? await make(JSON.parse(form.dataset.publicKey)) : await use(await asked());
      form.elements.credential.value = JSON.stringify(said);
      form.submit();
    } catch (error) {
      problem.textContent = words(error);
      button.disabled = false;
      button.focus();
    }
  });

  // Whoever comes back to this page begins anew.
  window.addEventListener("pageshow", () => { button.disabled = false; });
  form.hidden = false;
  if (instead) instead.hidden = true;
})();
