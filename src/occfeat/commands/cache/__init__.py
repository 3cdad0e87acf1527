"""`occfeat cache`: the teacher's features of every key frame, or the student's images."""
