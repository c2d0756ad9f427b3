#!/usr/bin/env python3
"""Writes pretrain.txt: small stories with a small vocabulary, to train a small language model from scratch on.

Usage: python3 make_pretrain_text.py > pretrain.txt

Every story has somebody, a place, a wish, a trouble, help and an end. The same seed gives the same text.
"""

import random

SEED = 7
STORIES = 190

PEOPLE = [
    ("Mara", "she", "her"), ("Tobin", "he", "his"), ("Ilse", "she", "her"), ("Otto", "he", "his"),
    ("Nell", "she", "her"), ("Pavel", "he", "his"), ("June", "she", "her"), ("Amos", "he", "his"),
    ("Rosa", "she", "her"), ("Finn", "he", "his"),
]
ANIMALS = ["the grey cat", "an old dog", "a small finch", "the brown goat", "a slow tortoise", "the white hen"]
PLACES = ["by the river", "at the edge of the town", "in a house on the hill", "behind the old mill",
          "above the bakery", "near the harbour"]
WEATHER = ["It was a cold morning.", "The sun was warm that day.", "Rain fell on the roofs.",
           "The wind came from the sea.", "Snow lay on the road.", "It was a quiet evening."]
# What somebody wants, what goes wrong, what helps, and how it ends.
WISHES = [
    ("to make a pot of tea", "the kettle was empty", "carried water from the well", "the tea was hot and sweet"),
    ("to plant a pear tree", "the ground was too hard", "lent a good spade", "the tree stood straight in the garden"),
    ("to find the lost key", "the lamp had gone out", "brought a candle", "the key lay under the chair"),
    ("to mend the broken chair", "there was not one nail in the house", "came with a box of nails",
     "the chair was as good as new"),
    ("to bake bread for the market", "the flour had run out", "shared a bag of flour",
     "the bread was gone before noon"),
    ("to send a letter across the sea", "the last boat had left", "knew another boat",
     "the letter came home with an answer"),
    ("to fly the red kite", "the string was torn", "tied the string with a strong knot",
     "the kite flew higher than the trees"),
    ("to learn an old song", "nobody knew the last line", "hummed the end of it", "everybody sang it together"),
    ("to cross the bridge before dark", "a cart stood in the way", "pushed the cart aside",
     "the lights of the town were already burning"),
    ("to keep the hens safe from the fox", "the fence had a hole", "held the boards while the hammer fell",
     "the fox went away hungry"),
]
MOODS = ["was sad", "was angry for a while", "sat down and thought", "did not give up", "laughed about it",
         "asked everybody in the street"]
FRIENDS = ["a neighbour", "the baker", "an old sailor", "the miller's daughter", "a stranger with a blue hat",
           "the teacher"]
THANKS = ["“Thank you,” said {name}. “I could not have done it alone.”",
          "“You are kind,” {name} said, and gave {friend} an apple.",
          "{name} smiled, and {friend} smiled too.",
          "“Come and eat with us,” said {name}, and {friend} came."]
ENDS = ["After that day {pronoun} was never in a hurry again.", "And {name} slept well that night.",
        "From then on the two were friends.", "{name} told the story to everybody who would listen.",
        "That is how it was, and that is how it should be."]


def story(draw: random.Random) -> str:
    name, pronoun, possessive = draw.choice(PEOPLE)
    wish, trouble, helped, end = draw.choice(WISHES)
    friend, animal = draw.choice(FRIENDS), draw.choice(ANIMALS)
    sentences = [f"{name} lived {draw.choice(PLACES)} with {animal}.", draw.choice(WEATHER),
                 f"{name} wanted {wish}, but {trouble}."]
    if draw.random() < 0.6:
        sentences.append(f"First {pronoun} {draw.choice(MOODS)}.")
    if draw.random() < 0.5:
        sentences.append(f"{animal[0].upper()}{animal[1:]} looked at {name} and waited.")
    sentences.append(f"Then {friend} came along and {helped}.")
    sentences.append(f"In the end {end}.")
    if draw.random() < 0.7:
        sentences.append(draw.choice(THANKS).format(name=name, friend=friend))
    if draw.random() < 0.4:
        sentences.append(f"{name} put {possessive} hand on the table and counted to three.")
    sentences.append(draw.choice(ENDS).format(name=name, pronoun=pronoun))
    return " ".join(sentences)


def main() -> None:
    draw = random.Random(SEED)
    print("\n\n".join(story(draw) for _ in range(STORIES)))


if __name__ == "__main__":
    main()
