# Farrington flexible as the package `surveillance` computes it, one time point a column.
# Arguments: a file of doubles (rows x columns, by column), the same of populations or "-", rows, columns, alpha, b, w, file for the answer.
# The last row of a column is the time point; a period ("year") is a week of 168 hours. NaN is NA.
suppressMessages(library(surveillance))
asked <- commandArgs(trailingOnly = TRUE)
rows <- as.integer(asked[3]); columns <- as.integer(asked[4])
read <- function(path) matrix(readBin(path, "double", n = rows * columns), nrow = rows)
counts <- read(asked[1])
counts[is.nan(counts)] <- NA
offset <- asked[2] != "-"
population <- if (offset) read(asked[2]) else matrix(1, rows, columns)
answer <- matrix(NA_real_, columns, 2)
for (first in seq(1, columns, by = 40)) {
  part <- first:min(first + 39, columns)
  series <- sts(observed = round(counts[, part, drop = FALSE]), population = population[, part, drop = FALSE], frequency = 168)
  found <- suppressWarnings(farringtonFlexible(series, control = list(
    range = rows, b = as.integer(asked[6]), w = as.integer(asked[7]), alpha = as.numeric(asked[5]), noPeriods = 1,
    pastWeeksNotIncluded = 24, limit54 = c(0, 1), thresholdMethod = "nbPlugin", populationOffset = offset,
    glmWarnings = FALSE)))
  answer[part, 1] <- found@control$expected
  answer[part, 2] <- found@control$score
}
writeBin(as.vector(t(answer)), asked[8])
