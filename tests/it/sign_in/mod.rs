//! People sign in: by OpenID Connect in a browser, by a code on a command line, once more when policy wants a fresh proof; and what
//! becomes of the sessions they get.

mod attacks;
mod device;
mod foreign;
mod sessions;
mod step_up;
