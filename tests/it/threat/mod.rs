//! The negative space: what thieves, forgers and broken peers try.
