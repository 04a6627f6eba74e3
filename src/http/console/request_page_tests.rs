//! The request page, filled by hand: what is shown, in which order, and what no text of an agent's can do to it.
