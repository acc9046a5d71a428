# A week ahead by STL and ETS, as the package `forecast` computes it (stlf), one window of hours a column.
# Arguments: a file of doubles (rows x columns, by column), rows, columns, file for the answer (168 x columns). NaN is NA.
suppressMessages(library(forecast))
asked <- commandArgs(trailingOnly = TRUE)
rows <- as.integer(asked[2]); columns <- as.integer(asked[3])
counts <- matrix(readBin(asked[1], "double", n = rows * columns), nrow = rows)
counts[is.nan(counts)] <- NA
answer <- matrix(NA_real_, 168, columns)
for (column in seq_len(columns)) {
  series <- ts(counts[, column], frequency = 168)
  if (mean(is.na(series)) > 0.5) next
  if (anyNA(series)) series[is.na(series)] <- mean(series, na.rm = TRUE)
  if (sd(series) == 0) { answer[, column] <- series[1]; next }
  answer[, column] <- as.numeric(stlf(series, h = 168, method = "ets", etsmodel = "ANN", robust = TRUE)$mean)
}
writeBin(as.vector(answer), asked[4])
