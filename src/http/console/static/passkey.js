// A form with data-passkey="URL" asks URL for a challenge with the form's own fields, lets the authenticator answer, puts the answer into
// a hidden field and goes where the form goes (docs/passkeys.md). No inline code, no dependency, nothing kept.
(() => {
  const K = window.PublicKeyCredential;
  const put = (form, name, value) => {
    let field = form.elements.namedItem(name);
    if (!field) {
      field = Object.assign(document.createElement("input"), { type: "hidden", name });
      form.append(field);
    }
    field.value = JSON.stringify(value);
  };
  const sign = async (challenge, options) => {
    const publicKey = K.parseRequestOptionsFromJSON(options);
    const { id, response } = (await navigator.credentials.get({ publicKey })).toJSON();
    return {
      challenge,
      credential: id,
      client_data: response.clientDataJSON,
      authenticator_data: response.authenticatorData,
      signature: response.signature,
    };
  };
  const make = async (challenge, options, confirmation) => {
    const publicKey = K.parseCreationOptionsFromJSON(options);
    const { response } = (await navigator.credentials.create({ publicKey })).toJSON();
    return {
      challenge,
      client_data: response.clientDataJSON,
      attestation_object: response.attestationObject,
      transports: response.transports,
      confirmation,
    };
  };
  const answer = async (form, button) => {
    const body = new URLSearchParams(new FormData(form, button));
    const headers = { accept: "application/json" };
    const reply = await fetch(form.dataset.passkey, { method: "POST", body, headers, redirect: "error" });
    const asked = await reply.json();
    if (!reply.ok) throw new Error(asked.detail);
    const signed = asked.get && (await sign(asked.id, asked.get));
    if (asked.create) put(form, "registration", await make(asked.id, asked.create, signed));
    else put(form, "assertion", signed);
  };
  const said = {
    NotAllowedError: "The passkey was not used: cancelled, or too late. Try again.",
    InvalidStateError: "This authenticator has a passkey of yours already. Use another one.",
  };
  document.addEventListener("submit", async (event) => {
    const { target: form, submitter: button } = event;
    if (!form.dataset.passkey || button?.dataset.passkey === "no" || form.dataset.signed) return;
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = 1;
    const says = form.querySelector("[data-passkey-says]") || {};
    try {
      if (!K?.parseRequestOptionsFromJSON) throw new Error("This browser cannot use passkeys here. Use a current one.");
      says.textContent = "Confirm with your passkey.";
      await answer(form, button);
      form.dataset.signed = 1;
      form.requestSubmit(button);
    } catch (error) {
      says.textContent = said[error.name] || error.message;
    }
    delete form.dataset.busy;
    delete form.dataset.signed;
  });
})();
