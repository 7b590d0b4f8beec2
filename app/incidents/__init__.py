"""Compute incidents and send messages about them. Every process can; one at a time computes incidents."""
