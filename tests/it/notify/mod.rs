//! People are told of what waits for them, once, by whom it concerns, and of how it ended. The servers that take it remember what they
//! took, so that tests look at the world.

mod chat;
mod crash;
mod mail;
mod outbox;
mod slack;
mod webhook;
mod world;
