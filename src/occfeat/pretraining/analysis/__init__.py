"""What pretrained features mean: classes they tell apart, clusters they form, agreement with the teacher."""
